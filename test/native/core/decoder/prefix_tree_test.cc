#include "core/decoder/prefix_tree.h"

#include <gtest/gtest.h>

#include <array>
#include <unordered_map>

#include "core/decoder/mixed_bits.h"

namespace moe::test {
namespace {

using Tokens = std::array<int32_t, kKvBlock>;

// Two blocks of the same hash: the last token but one gives the same upper half, and the last takes the lower half
// back.
std::pair<Tokens, Tokens> colliding() {
  uint64_t hash = 0;
  for (int i = 0; i < kKvBlock - 2; ++i) hash = mixed_bits(hash);
  std::unordered_map<uint32_t, uint32_t> seen;
  for (uint32_t token = 0;; ++token) {
    const auto [place, is_new] = seen.try_emplace(static_cast<uint32_t>(mixed_bits(hash ^ token) >> 32), token);
    if (is_new) continue;
    Tokens one{}, other{};
    one[kKvBlock - 2] = static_cast<int32_t>(token);
    other[kKvBlock - 2] = static_cast<int32_t>(place->second);
    other[kKvBlock - 1] = static_cast<int32_t>(mixed_bits(hash ^ token) ^ mixed_bits(hash ^ place->second));
    return {one, other};
  }
}

TEST(PrefixTree, TokensOfTheSameHashAreOthers) {
  const auto [one, other] = colliding();
  PrefixTree tree(1);
  PrefixNode& first = tree.find_or_add(nullptr, one);
  tree.pin(&first);
  EXPECT_EQ(tree.find(nullptr, other), nullptr);
  PrefixNode& second = tree.find_or_add(nullptr, other);
  tree.pin(&second);
  ASSERT_EQ(first.hash, second.hash);
  EXPECT_EQ(tree.find(nullptr, one), &first);
  EXPECT_EQ(tree.find(nullptr, other), &second);
  PrefixNode& behind = tree.find_or_add(&first, one);
  tree.pin(&behind);
  EXPECT_EQ(tree.find(&second, one), nullptr) << "what stands before it is something else";
  EXPECT_EQ(tree.find(&first, one), &behind);
}

TEST(PrefixTree, ANodeStaysForAsLongAsSomethingNeedsIt) {
  PrefixTree tree(1);
  Tokens tokens{1};
  PrefixNode& first = tree.find_or_add(nullptr, tokens);
  tree.pin(&first);
  PrefixNode& second = tree.find_or_add(&first, tokens);
  tree.pin(&second);
  tree.unpin(&first);
  EXPECT_EQ(tree.nodes(), 2u);
  tree.unpin(&second);
  EXPECT_EQ(tree.nodes(), 0u);
}

}  // namespace
}  // namespace moe::test
