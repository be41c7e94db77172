#include "core/ranks/link_cost.h"

#include <gtest/gtest.h>

#include "fakes/thread_ranks.h"

namespace moe::test {
namespace {

TEST(LinkCost, IsTheSameOnEveryRank) {
  ThreadRanks ranks(3);
  std::vector<LinkCost> costs(3);
  ThreadRanks::run(3, [&](int rank) { costs[rank] = measure_link(*ranks.join(rank)); });
  for (const LinkCost& cost : costs) {
    EXPECT_GT(cost.seconds_per_exchange, 0.0);
    EXPECT_GT(cost.bytes_per_second, 0.0);
    EXPECT_EQ(cost.seconds_per_exchange, costs[0].seconds_per_exchange);
    EXPECT_EQ(cost.bytes_per_second, costs[0].bytes_per_second);
  }
}

// 8 rounds, and in each what ranks tell each other of their times.
TEST(LinkCost, SendsAFewMegabytesToHoweverManyPeers) {
  for (const int size : {2, 9}) {
    ThreadRanks ranks(size);
    ThreadRanks::run(size, [&](int rank) { measure_link(*ranks.join(rank)); });
    size_t bytes = 0;
    for (int to = 1; to < size; ++to) bytes += ranks.bytes(0, to);
    EXPECT_GT(bytes, size_t{8} << 20);
    EXPECT_LT(bytes, size_t{8 * 4 + 1} << 20);
  }
}

TEST(LinkCost, OfNobodyIsNothing) {
  ThreadRanks ranks(1);
  EXPECT_EQ(measure_link(*ranks.join(0)).seconds_per_exchange, 0.0);
}

}  // namespace
}  // namespace moe::test
