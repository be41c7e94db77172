#include "core/ranks/exchange_plan.h"

#include <gtest/gtest.h>

namespace moe::test {
namespace {

// The published values: 256 experts, 8 a token, over 2 to 64 nodes; 64 experts, 6 a token; 8 experts, 2 a token.
TEST(ExchangePlan, ExpectsTheGroupsThatChoicesAreIn) {
  for (const auto& [groups, expected] : {std::pair{2, 1.99}, {4, 3.61}, {8, 5.29}, {32, 7.27}, {64, 7.68}})
    EXPECT_NEAR(expected_groups(groups, 256, 8), expected, 0.01) << groups;
  EXPECT_NEAR(expected_groups(8, 64, 6), 4.54, 0.01);
  EXPECT_NEAR(expected_groups(4, 8, 2), 1.86, 0.01);
  EXPECT_EQ(expected_groups(1, 8, 2), 1.0);
  EXPECT_EQ(expected_groups(4, 8, 8), 4.0);
}

constexpr GroupShape kShape{.rank = 0, .size = 32, .ranks_per_node = 8};
constexpr LinkCost kFast{2e-6, 160e9};

// The figures of 4 nodes of 8 devices: 5 microseconds a message and 25 GB/s between nodes.
TEST(ExchangePlan, SavesMessagesInSmallCallsAndRowsInLargeOnes) {
  const ExchangeCosts costs{kFast, {24 * 5e-6, 25e9}, {3 * 5e-6, 25e9}};
  for (const double tokens : {1.0, 64.0, 4096.0})
    EXPECT_EQ(cheaper_plan(costs, kShape, {tokens, 256, 8, 7168}), ExchangePlan::kTwoLevel) << tokens;
}

TEST(ExchangePlan, GoesStraightWhereLinksBetweenNodesAreAsFastAsInside) {
  const ExchangeCosts costs{kFast, {5e-6, 160e9}, {5e-6, 160e9}};
  for (const double tokens : {1.0, 4096.0})
    EXPECT_EQ(cheaper_plan(costs, kShape, {tokens, 256, 8, 7168}), ExchangePlan::kFlat) << tokens;
}

// Each token to one expert: no row is saved, so only messages count, and with many tokens they do not.
TEST(ExchangePlan, WeighsMessagesAgainstBytes) {
  const ExchangeCosts costs{{2e-6, 30e9}, {24 * 5e-6, 25e9}, {3 * 5e-6, 25e9}};
  EXPECT_EQ(cheaper_plan(costs, kShape, {8, 256, 1, 7168}), ExchangePlan::kTwoLevel);
  EXPECT_EQ(cheaper_plan(costs, kShape, {65536, 256, 1, 7168}), ExchangePlan::kFlat);
}

TEST(ExchangePlan, TakesTheTimeOfTheBytesAtTheRateOfTheLink) {
  const GroupShape shape{.rank = 0, .size = 4, .ranks_per_node = 2};
  const ExchangeCosts costs{{0.0, 1e30}, {1.0, 100.0}, {1.0, 100.0}};
  // 10 tokens, both experts chosen: 2 nodes, 4 ranks of which 2 are elsewhere; rows of 4 floats are 16 bytes.
  const ExchangeLoad load{10, 4, 4, 4};
  EXPECT_DOUBLE_EQ(flat_seconds(costs, shape, load), 2 * 1.0 + (10 * 2 * 16 + 10 * 2 * 16) / 100.0);
  EXPECT_DOUBLE_EQ(two_level_seconds(costs, shape, load), 2 * 1.0 + (10 * 1 * 16 + 10 * 2 * 16) / 100.0);
}

}  // namespace
}  // namespace moe::test
