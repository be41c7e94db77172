#include <gtest/gtest.h>

#include "naive_router.h"

namespace moe::test {
namespace {

MoEConfig v1(int32_t experts, int32_t top_k, double capacity_factor) {
  MoEConfig config;
  config.expert_num = experts;
  config.num_experts_chosen = top_k;
  config.capacity_factor = capacity_factor;
  return config;
}

TEST(RouterV1, DropsTiedTokensInOrderWithTheLossOfTheHandComputedExample) {
  const RoutingResult result = run_router(v1(2, 1, 1.0), {1, 0, 1, 0, 1, 0, 1, 0});
  EXPECT_EQ(result.totals.capacity, 2);
  EXPECT_EQ(result.experts, (std::vector<int32_t>{0, 0, -1, -1}));
  const double p0 = 1.0 / (1.0 + std::exp(-1.0));
  expect_near(result.weights[0], p0 / (p0 + 1e-9), 1e-7, "weight");
  expect_near(result.weights[1], p0 / (p0 + 1e-9), 1e-7, "weight");
  EXPECT_EQ(result.weights[2], 0.0f);
  EXPECT_EQ(result.weights[3], 0.0f);
  EXPECT_EQ(result.expert_load, (std::vector<uint32_t>{2, 0}));
  EXPECT_EQ(result.totals.dropped_choices, 2);
  expect_near(result.totals.aux_loss, 0.05 * 1.4621172, 1e-7, "aux_loss");
  EXPECT_EQ(result.totals.z_loss, 0.0);
}

TEST(RouterV1, EqualsTheDenseFormulationOnRandomBatches) {
  for (uint32_t seed = 0; seed < 4000; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const auto experts = static_cast<int32_t>(random.one_in(10) ? random.integer(15, 40) : random.integer(1, 8));
    MoEConfig config = v1(experts, static_cast<int32_t>(random.integer(1, std::min(experts, 6))),
                          random.one_of({0.3, 0.7, 1.0, 1.1, 1.25, 2.0}));
    const int64_t tokens = random.integer(1, 24);
    config.tokens_per_group = random.one_in(2) ? 0 : random.integer(1, tokens + 2);
    config.aux_loss_factor = random.one_of({0.05, 0.9});
    std::vector<float> logits = random.one_in(2) ? grid_logits(random, tokens * experts, 1, 1.0f)
                                                 : grid_logits(random, tokens * experts, 64, 1.0f / 16);
    for (float& logit : logits) {
      if (seed % 4 == 1 && random.one_in(3)) logit = random.one_of({-INFINITY, -200.0f, -90.0f});
      if (seed % 8 == 3 && random.one_in(40)) logit = random.one_of({NAN, INFINITY});
    }
    expect_same_routing(run_router(config, logits), naive_v1(config, logits));
    if (HasFailure()) return;
  }
}

TEST(RouterV1, EqualsTheDenseFormulationWhereEveryExpertIsChosen) {
  Random random(5);
  const MoEConfig config = v1(12, 12, 0.9);
  const std::vector<float> logits = grid_logits(random, 30 * 12, 3, 1.0f);
  expect_same_routing(run_router(config, logits), naive_v1(config, logits));
}

TEST(RouterV1, EqualsTheDenseFormulationFor512ExpertsOf64Chosen) {
  Random random(6);
  const MoEConfig config = v1(512, 64, 1.1);
  const std::vector<float> logits = grid_logits(random, 12 * 512, 256, 1.0f / 32);
  expect_same_routing(run_router(config, logits), naive_v1(config, logits));
}

TEST(RouterV1, PlacesAllFirstChoicesBeforeAnySecond) {
  // Capacity 1. Token 0's second choice is expert 1, which is token 1's first.
  const RoutingResult result = run_router(v1(4, 2, 1.0), {3, 2, 1, 0, 0, 3, 2, 1});
  EXPECT_EQ(result.totals.capacity, 1);
  EXPECT_EQ(result.experts, (std::vector<int32_t>{0, -1, 1, 2}));
}

TEST(RouterV1, ChoosesTheSameFullExpertAgainInsteadOfTheNext) {
  // Capacity 2: tokens 2 and 3 never leave expert 0, though expert 1 has room until round two and expert 2 stays empty.
  const RoutingResult result = run_router(v1(4, 2, 1.0), {3, 2, 1, 0, 3, 2, 1, 0, 3, 2, 1, 0, 3, 2, 1, 0});
  EXPECT_EQ(result.experts, (std::vector<int32_t>{0, 1, 0, 1, -1, -1, -1, -1}));
  EXPECT_EQ(result.expert_load, (std::vector<uint32_t>{2, 2, 0, 0}));
  EXPECT_EQ(result.totals.dropped_choices, 4);
}

TEST(RouterV1, RenormalisesOverWhatWasKept) {
  // Token 1's second choice, expert 0, was taken by token 0: its first keeps all the weight.
  const RoutingResult result = run_router(v1(4, 2, 1.0), {3, 2, 1, 0, 1, -3, 2, 0});
  EXPECT_EQ(result.experts, (std::vector<int32_t>{0, 1, 2, -1})) << "token 1 ranks 2, 0";
  expect_near(result.weights[0] + result.weights[1], 1.0, 1e-6, "weights of token 0");
  expect_near(result.weights[2], 1.0, 1e-6, "weight of token 1");
}

TEST(RouterV1, CountsCapacityInEachGroupOfTokens) {
  MoEConfig config = v1(2, 1, 1.0);
  config.tokens_per_group = 4;
  const RoutingResult result = run_router(config, {1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0});
  EXPECT_EQ(result.experts, (std::vector<int32_t>{0, 0, -1, -1, 0, 0, -1})) << "the last group has 3 tokens, ceil(1.5)";
  EXPECT_EQ(result.totals.capacity, 2);
}

TEST(RouterV1, GivesASlotOfExpert0ToAChoiceAmongZerosAndDispatchesNothing) {
  // Round two: both tokens have nothing but zeros left. Capacity 2 holds all; expert 0 serves token 0 alone.
  RoutingResult result = run_router(v1(2, 2, 1.0), {200, 0, 0, 200});
  EXPECT_EQ(result.experts, (std::vector<int32_t>{0, -1, 1, -1}));
  EXPECT_EQ(result.weights, (std::vector<float>{1.0f, 0.0f, 1.0f, 0.0f}));
  EXPECT_EQ(result.expert_load, (std::vector<uint32_t>{1, 1}));
  EXPECT_EQ(result.totals.dropped_choices, 1) << "token 0 took the second slot of expert 0, none was left for token 1";

  // A slot that was taken so is missing for token 1, whose second choice is a real one.
  result = run_router(v1(2, 2, 0.5), {0, 200, 0, 0.5});
  EXPECT_EQ(result.experts, (std::vector<int32_t>{1, -1, -1, -1}));
  EXPECT_EQ(result.expert_load, (std::vector<uint32_t>{0, 1}));
}

TEST(RouterV1, RoutesAnEmptyBatch) {
  MoEConfig config = v1(4, 2, 1.0);
  RoutingResult result = run_router(config, {});
  EXPECT_EQ(result.expert_load, (std::vector<uint32_t>{0, 0, 0, 0}));
  EXPECT_EQ(result.totals.aux_loss, 0.0);
  EXPECT_EQ(result.totals.z_loss, 0.0);
  EXPECT_EQ(result.totals.dropped_choices, 0);
  EXPECT_EQ(result.totals.capacity, 0);
  config.tokens_per_group = 10;
  EXPECT_EQ(run_router(config, {}).totals.capacity, 0) << "there is no group";
  EXPECT_EQ(run_router(config, std::vector<float>(4 * 10, 0.5f)).totals.capacity, 5);
}

TEST(RouterV1, KeepsNothingOfAnEarlierBatch) {
  Random random(9);
  const MoEConfig config = v1(8, 3, 1.0);
  Router router(config, {});
  SerialExecutor executor;
  for (const int64_t tokens : {20, 3, 31, 0, 7}) {
    const std::vector<float> logits = grid_logits(random, tokens * 8, 2, 1.0f);
    RoutingResult result(tokens, 8, 3);
    router.route(logits, tokens, executor, result.view());
    expect_same_routing(result, naive_v1(config, logits));
  }
}

}  // namespace
}  // namespace moe::test
