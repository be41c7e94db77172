#include <gtest/gtest.h>

#include "naive_router.h"

namespace moe::test {
namespace {

// Six tokens whose third row is `bad`, and the same batch without it.
std::pair<std::vector<float>, std::vector<float>> batches_with_and_without(std::vector<float> bad) {
  const std::vector<float> before{3, 2, 1, 0, 3, 2, 1, 0}, after{1, 0, 3, 2, 3, 0, 2, 1, 3, 2, 0, 1};
  std::vector<float> with = before, without = before;
  with.insert(with.end(), bad.begin(), bad.end());
  with.insert(with.end(), after.begin(), after.end());
  without.insert(without.end(), after.begin(), after.end());
  return {with, without};
}

class Unroutable : public testing::TestWithParam<RoutingPolicy> {
 protected:
  MoEConfig config() const {
    MoEConfig config;
    config.routing_policy = GetParam();
    config.expert_num = 4;
    config.num_experts_chosen = 2;
    config.capacity_factor = 2.0 / 3.0;  // capacity 2 for 5 tokens and for 6
    config.aux_losses = {{0.05, 4}};
    config.z_loss_factor = 0.1;
    return config;
  }
};

TEST_P(Unroutable, TokenGetsNaNAndLeavesTheOthersAsIfItWereAbsent) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<std::vector<float>> bad_rows{
      {NAN, 1, 2, 3},
      {0, 1, 2, kInfinity},
      {-kInfinity, NAN, -kInfinity, -kInfinity},
      {kInfinity, -kInfinity, 0, 0},
      {-kInfinity, -kInfinity, -kInfinity, -kInfinity},
  };
  for (const std::vector<float>& bad : bad_rows) {
    SCOPED_TRACE(testing::PrintToString(bad));
    const auto [with, without] = batches_with_and_without(bad);
    RoutingResult result = run_router(config(), with);
    const RoutingResult expected = run_router(config(), without);
    ASSERT_EQ(result.totals.capacity, 2);
    ASSERT_EQ(expected.totals.capacity, 2);
    for (int i = 4; i < 6; ++i) {
      EXPECT_EQ(result.experts[i], -1);
      EXPECT_TRUE(std::isnan(result.weights[i]));
    }
    result.experts.erase(result.experts.begin() + 4, result.experts.begin() + 6);
    result.weights.erase(result.weights.begin() + 4, result.weights.begin() + 6);
    expect_same_routing(result, expected);
    EXPECT_GT(result.totals.dropped_choices, 0);
  }
}

TEST_P(Unroutable, GroupContributesNothingToTheLosses) {
  MoEConfig grouped = config();
  grouped.tokens_per_group = 2;
  const std::vector<float> fine{3, 2, 1, 0, 0, 1, 2, 3}, bad(8, NAN);
  std::vector<float> both = fine;
  both.insert(both.end(), bad.begin(), bad.end());
  const RoutingResult one = run_router(grouped, fine), two = run_router(grouped, both);
  EXPECT_GT(one.totals.aux_loss, 0.0);
  EXPECT_EQ(two.totals.aux_loss, one.totals.aux_loss / 2);
  EXPECT_EQ(two.totals.z_loss, one.totals.z_loss);
  EXPECT_EQ(two.expert_load, one.expert_load);
}

TEST_P(Unroutable, LogitsBeyondFloatDifferencesAreStillRoutable) {
  const RoutingResult result = run_router(config(), {3e38f, -3e38f, 0, 1});
  EXPECT_EQ(result.experts[0], 0);
  EXPECT_EQ(result.weights[0], 1.0f);
}

INSTANTIATE_TEST_SUITE_P(Policies, Unroutable,
                         testing::Values(RoutingPolicy::kTopkRouterV1, RoutingPolicy::kTopkRouterV2),
                         [](const auto& info) {
                           return info.param == RoutingPolicy::kTopkRouterV1 ? "TopkRouterV1" : "TopkRouterV2";
                         });

}  // namespace
}  // namespace moe::test
