#include "core/decoder/block_tables.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "core/error.h"

namespace moe::test {
namespace {

std::vector<int32_t> some_tokens(int64_t count, int32_t first = 0) {
  std::vector<int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// Admits and computes tokens, all of them at once.
SequenceBlocks computed(BlockTables& tables, const std::vector<int32_t>& tokens, int64_t new_tokens = 0) {
  SequenceBlocks sequence = tables.admit(tokens, new_tokens).value();
  tables.extend(sequence, static_cast<int64_t>(tokens.size()));
  tables.advance(sequence, tokens, static_cast<int64_t>(tokens.size()));
  return sequence;
}

TEST(BlockTables, ABeginningIsFoundOnceItIsComputed) {
  BlockTables tables({0}, 10, true);
  const std::vector<int32_t> tokens = some_tokens(40);
  SequenceBlocks first = *tables.admit(tokens, 0);
  tables.extend(first, 40);
  SequenceBlocks too_early = *tables.admit(tokens, 0);
  EXPECT_EQ(too_early.cached, 0);
  tables.advance(first, tokens, 31);
  EXPECT_EQ(tables.admit(tokens, 0)->cached, 16);
  tables.release(first);
  tables.release(too_early);
}

TEST(BlockTables, AHitNeverHasTheLastToken) {
  BlockTables tables({0}, 20, true);
  SequenceBlocks first = computed(tables, some_tokens(48));
  for (const auto& [size, cached] : std::map<int64_t, int64_t>{{48, 32}, {49, 48}, {33, 32}, {32, 16}, {16, 0}, {1, 0}})
    EXPECT_EQ(tables.admit(some_tokens(size), 0)->cached, cached) << size;
}

TEST(BlockTables, WhoSharesNothingComputesAll) {
  BlockTables tables({0}, 20, true);
  SequenceBlocks first = computed(tables, some_tokens(48));
  EXPECT_EQ(tables.admit(some_tokens(48), 0, false)->cached, 0);
  EXPECT_EQ(tables.admit(some_tokens(48), 0, true)->cached, 32);
}

TEST(BlockTables, OtherTokensBeforeABlockAreAnotherBeginning) {
  BlockTables tables({0}, 10, true);
  std::vector<int32_t> tokens = some_tokens(40);
  SequenceBlocks first = computed(tables, tokens);
  tokens[3] = 99;
  EXPECT_EQ(tables.admit(tokens, 0)->cached, 0);
}

TEST(BlockTables, AWindowGivesBackWhatItHasPassedAndNeedsOnlyWhatIsInsideToHit) {
  BlockTables tables({20}, 10, true);
  const std::vector<int32_t> tokens = some_tokens(100);
  SequenceBlocks first = computed(tables, tokens);
  // The token at 100 reads from 81 on.
  EXPECT_EQ(std::ranges::count(first.groups[0].table, -1), 5);
  EXPECT_EQ(tables.usage().free, 8);
  SequenceBlocks second = *tables.admit(tokens, 0);
  EXPECT_EQ(second.cached, 96);
  EXPECT_EQ(std::ranges::count(second.groups[0].table, -1), 4) << "the token at 96 reads from 77 on";
  EXPECT_EQ(second.groups[0].table[5], first.groups[0].table[5]);
  tables.release(first);
  tables.release(second);
  EXPECT_EQ(tables.usage().free, 10);
}

TEST(BlockTables, TheLeastRecentlyUsedBeginningGoesFirst) {
  BlockTables tables({0}, 6, true);
  for (const int32_t text : {0, 1000}) {
    SequenceBlocks sequence = computed(tables, some_tokens(33, text));
    tables.release(sequence);
  }
  SequenceBlocks again = *tables.admit(some_tokens(33, 0), 0);
  EXPECT_EQ(again.cached, 32);
  tables.release(again);
  SequenceBlocks third = computed(tables, some_tokens(48, 5000));
  tables.release(third);
  EXPECT_EQ(tables.admit(some_tokens(33, 0), 0)->cached, 32);
  EXPECT_EQ(tables.admit(some_tokens(33, 1000), 0)->cached, 16) << "its end has gone, its start is there";
}

TEST(BlockTables, RoomIsReserved) {
  BlockTables tables({0}, 10, false);
  SequenceBlocks first = *tables.admit(some_tokens(1), 95);
  EXPECT_EQ(tables.usage().free, 4);
  EXPECT_FALSE(tables.admit(some_tokens(1), 64));
  SequenceBlocks second = *tables.admit(some_tokens(1), 63);
  EXPECT_EQ(tables.usage().free, 0);
  EXPECT_THROW(tables.admit(some_tokens(1), 160), Error);
  tables.release(first);
  tables.release(second);
  EXPECT_EQ(tables.usage().free, 10);
}

TEST(BlockTables, AFreeBlockThatIsFoundAgainTakesRoomLikeAnother) {
  BlockTables tables({0}, 10, true);
  SequenceBlocks before = computed(tables, some_tokens(33));
  tables.release(before);
  SequenceBlocks other = *tables.admit(some_tokens(1, 500), 111);
  EXPECT_EQ(tables.usage().free, 3);
  EXPECT_FALSE(tables.admit(some_tokens(33), 31)) << "two blocks are found, and there is room for one more";
  EXPECT_TRUE(tables.admit(some_tokens(33), 15));
  EXPECT_EQ(tables.usage().free, 0);
}

TEST(BlockTables, WhatTwoHaveComputedAtOnceIsKeptOnce) {
  BlockTables tables({0}, 10, true);
  const std::vector<int32_t> tokens = some_tokens(33);
  SequenceBlocks one = *tables.admit(tokens, 0), other = *tables.admit(tokens, 0);
  for (SequenceBlocks* sequence : {&one, &other}) {
    tables.extend(*sequence, 33);
    tables.advance(*sequence, tokens, 33);
  }
  tables.release(one);
  tables.release(other);
  EXPECT_EQ(tables.usage().kept, 2);
  EXPECT_EQ(tables.usage().free, 10);
}

// Ten thousand operations, watched by a model that knows what each block holds.
class Model {
 public:
  Model(std::vector<int64_t> windows, int32_t blocks) : windows_(windows), tables_(windows, blocks, true) {
    contents_.resize(windows.size());
  }

  void operate() {
    const auto kind = random_() % 10;
    if (kind < 3)
      admit();
    else if (kind < 8)
      step();
    else
      release();
  }
  void release_all() {
    while (!sequences_.empty()) release();
    const BlockUsage usage = tables_.usage();
    EXPECT_EQ(usage.free, usage.blocks);
    EXPECT_LE(tables_.known_prefixes(), contents_.size() * usage.blocks * 8);
  }
  int64_t hits() const { return hits_; }
  int64_t refused() const { return refused_; }

 private:
  struct Running {
    std::vector<int32_t> tokens;
    int64_t limit, position;
    SequenceBlocks blocks;
  };

  void admit() {
    // Few texts, cut anywhere, so that beginnings meet.
    std::vector<int32_t> tokens = some_tokens(1 + random_() % 90, 1000 * static_cast<int32_t>(random_() % 4));
    if (random_() % 3 == 0) tokens[random_() % tokens.size()] = -1;
    const auto new_tokens = static_cast<int64_t>(random_() % 40);
    auto blocks = tables_.admit(tokens, new_tokens);
    if (!blocks) {
      ++refused_;
      return;
    }
    ASSERT_LT(blocks->cached, static_cast<int64_t>(tokens.size()));
    hits_ += blocks->cached;
    const auto limit = static_cast<int64_t>(tokens.size()) + new_tokens;
    sequences_.push_back({tokens, limit, blocks->cached, std::move(*blocks)});
    expect_window(sequences_.back());
  }

  void step() {
    if (sequences_.empty()) return;
    Running& running = sequences_[random_() % sequences_.size()];
    const int64_t left = static_cast<int64_t>(running.tokens.size()) - running.position;
    if (left == 0) return;
    const int64_t count = 1 + static_cast<int64_t>(random_()) % left;
    tables_.extend(running.blocks, running.position + count);
    for (size_t group = 0; group < windows_.size(); ++group)
      for (int64_t position = running.position; position < running.position + count; ++position) {
        const int32_t block = running.blocks.groups[group].table[position / kKvBlock];
        ASSERT_GE(block, 0);
        contents_[group][{block, position % kKvBlock}] = {running.tokens.begin(),
                                                          running.tokens.begin() + position + 1};
      }
    expect_window(running);
    if (random_() % 4 == 0) return;  // the step has failed
    running.position += count;
    tables_.advance(running.blocks, running.tokens, running.position);
    if (running.position == static_cast<int64_t>(running.tokens.size()) && running.position < running.limit)
      running.tokens.push_back(static_cast<int32_t>(random_() % 3));
  }

  void release() {
    if (sequences_.empty()) return;
    const size_t which = random_() % sequences_.size();
    tables_.release(sequences_[which].blocks);
    sequences_.erase(sequences_.begin() + static_cast<ptrdiff_t>(which));
  }

  // All that the sequence's next token reads is what the sequence has computed.
  void expect_window(const Running& running) {
    for (size_t group = 0; group < windows_.size(); ++group) {
      const int64_t window = windows_[group];
      int64_t position = window > 0 ? std::max<int64_t>(0, running.position - window + 1) : 0;
      for (; position < running.position; ++position) {
        const int32_t block = running.blocks.groups[group].table[position / kKvBlock];
        ASSERT_GE(block, 0);
        const auto& held = contents_[group][{block, position % kKvBlock}];
        ASSERT_TRUE(std::ranges::equal(held, std::span(running.tokens).first(position + 1)));
      }
    }
  }

  std::vector<int64_t> windows_;
  BlockTables tables_;
  std::vector<std::map<std::pair<int32_t, int64_t>, std::vector<int32_t>>> contents_;  // the text up to each place
  std::vector<Running> sequences_;
  std::mt19937 random_{7};
  int64_t hits_ = 0, refused_ = 0;
};

TEST(BlockTables, NothingLeaksAndNoBlockIsAnothersInTenThousandOperations) {
  for (const std::vector<int64_t>& windows : {std::vector<int64_t>{0}, {0, 20}, {20, 45}, {1}}) {
    Model model(windows, 30);
    for (int i = 0; i < 10000 && !testing::Test::HasFatalFailure(); ++i) model.operate();
    model.release_all();
    EXPECT_GT(model.hits(), 1000);
    EXPECT_GT(model.refused(), 10);
  }
}

}  // namespace
}  // namespace moe::test
