#include "core/decoder/prefix_tree.h"

#include <algorithm>

#include "core/decoder/mixed_bits.h"

namespace moe {
namespace {

uint64_t hash_of(const PrefixNode* parent, std::span<const int32_t> tokens) {
  uint64_t hash = parent ? parent->hash : 0;
  for (const int32_t token : tokens) hash = mixed_bits(hash ^ static_cast<uint32_t>(token));
  return hash;
}

}  // namespace

PrefixNode* PrefixTree::find(PrefixNode* parent, std::span<const int32_t> tokens) const {
  const auto [first, last] = nodes_.equal_range(hash_of(parent, tokens));
  for (auto place = first; place != last; ++place) {
    PrefixNode& node = *place->second;
    if (node.parent == parent && std::ranges::equal(node.tokens, tokens)) return &node;
  }
  return nullptr;
}

PrefixNode& PrefixTree::find_or_add(PrefixNode* parent, std::span<const int32_t> tokens) {
  if (PrefixNode* const found = find(parent, tokens)) return *found;
  auto node = std::make_unique<PrefixNode>();
  node->parent = parent;
  std::ranges::copy(tokens, node->tokens.begin());
  node->hash = hash_of(parent, tokens);
  node->blocks.assign(groups_, -1);
  pin(parent);
  return *nodes_.emplace(node->hash, std::move(node))->second;
}

void PrefixTree::pin(PrefixNode* node) {
  if (node) ++node->pins;
}

void PrefixTree::unpin(PrefixNode* node) {
  while (node && --node->pins == 0) {
    PrefixNode* const parent = node->parent;
    const auto [first, last] = nodes_.equal_range(node->hash);
    nodes_.erase(std::find_if(first, last, [&](const auto& entry) { return entry.second.get() == node; }));
    node = parent;
  }
}

}  // namespace moe
