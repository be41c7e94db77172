#include <gtest/gtest.h>

#include "naive_router.h"

namespace moe::test {
namespace {

MoEConfig v2(int32_t experts, int32_t top_k, double capacity_factor = 0.0) {
  MoEConfig config;
  config.routing_policy = RoutingPolicy::kTopkRouterV2;
  config.expert_num = experts;
  config.num_experts_chosen = top_k;
  config.capacity_factor = capacity_factor;
  return config;
}

float sigmoid_of(float x) { return 1.0f / (1.0f + std::exp(-x)); }

TEST(RouterV2, EqualsTheNaiveFormulationOnRandomConfigurations) {
  for (uint32_t seed = 0; seed < 6000; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const auto groups = static_cast<int32_t>(random.integer(1, 6));
    const auto experts = static_cast<int32_t>(groups * random.integer(1, random.one_in(8) ? 12 : 4));
    MoEConfig config = v2(experts, static_cast<int32_t>(random.integer(1, std::min(experts, 6))),
                          random.one_of({-1.0, 0.0, 0.4, 1.0, 1.1, 2.0, 50.0}));
    config.score_function = random.one_of({ScoreFunction::kSoftmax, ScoreFunction::kSigmoid});
    config.topk_method = random.one_of({TopkMethod::kGreedy, TopkMethod::kGroupLimitedGreedy, TopkMethod::kNoauxTc});
    config.n_group = groups;
    config.topk_group = static_cast<int32_t>(random.integer(1, groups));
    config.exclude_masked_groups = random.one_in(2);
    config.balance_via_topk_bias = random.one_in(2);
    config.norm_topk_prob = !random.one_in(3);
    config.norm_topk_epsilon = random.one_of({1e-9, 1e-20, 0.25});
    config.routed_scaling_factor = random.one_of({1.0, 2.5, 16.0});
    config.enable_sdrop = random.one_in(2);
    config.capacity_multiple = static_cast<int32_t>(random.integer(1, 4));
    config.z_loss_factor = random.one_of({0.0, 0.001, 0.5});
    if (random.one_in(2)) config.aux_losses.push_back({0.01, experts});
    if (random.one_in(2)) config.aux_losses.push_back({0.3, groups});
    const int64_t tokens = random.integer(1, 24);
    config.tokens_per_group = random.one_in(2) ? 0 : random.integer(1, tokens + 2);

    std::vector<float> logits = grid_logits(random, tokens * experts, 6, 0.5f);
    for (float& logit : logits) {
      logit += 0.125f;  // sigmoid(x) + sigmoid(-x) is 1 but for rounding: no tie to test
      if (seed % 4 == 1 && random.one_in(4)) logit = random.one_of({-INFINITY, -60.0f});
      if (seed % 8 == 3 && random.one_in(40)) logit = random.one_of({NAN, INFINITY});
    }
    const std::vector<float> bias =
        config.balance_via_topk_bias ? grid_logits(random, experts, 5, 0.125f) : std::vector<float>();
    expect_same_routing(run_router(config, logits, bias), naive_v2(config, logits, {bias}));
    if (HasFailure()) return;
  }
}

TEST(RouterV2, EqualsTheNaiveFormulationFor512ExpertsOf64Chosen) {
  Random random(1);
  MoEConfig config = v2(512, 64, 1.0);
  config.aux_losses = {{0.01, 512}, {0.02, 8}};
  config.z_loss_factor = 0.001;
  const std::vector<float> logits = grid_logits(random, 20 * 512, 64, 1.0f / 16);
  expect_same_routing(run_router(config, logits), naive_v2(config, logits, {}));
}

TEST(RouterV2, EqualsTheNaiveFormulationWhereEveryExpertIsChosen) {
  Random random(2);
  const MoEConfig config = v2(24, 24, 1.0);
  const std::vector<float> logits = grid_logits(random, 9 * 24, 2, 1.0f);
  expect_same_routing(run_router(config, logits), naive_v2(config, logits, {}));
}

TEST(RouterV2, DropsNothingWithoutACapacityFactor) {
  const RoutingResult result = run_router(v2(4, 1), {9, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0});
  EXPECT_EQ(result.experts, (std::vector<int32_t>{0, 0, 0}));
  EXPECT_EQ(result.totals.capacity, -1);
  EXPECT_EQ(result.totals.dropped_choices, 0);
}

TEST(RouterV2, PlacesFirstChoicesFirstUnlessSdropGoesTokenByToken) {
  // Capacity 1: token 0 chooses experts 0, 1; token 1 chooses 1, 2.
  const std::vector<float> logits{3, 2, 1, 0, 0, 3, 2, 1};
  MoEConfig config = v2(4, 2, 1.0);
  EXPECT_EQ(run_router(config, logits).experts, (std::vector<int32_t>{0, -1, 1, 2}));
  config.enable_sdrop = true;
  EXPECT_EQ(run_router(config, logits).experts, (std::vector<int32_t>{0, 1, -1, 2}));
}

TEST(RouterV2, KeepsALaterChoiceOfATokenWhoseFirstWasDroppedAtItsWeight) {
  // Capacity 1: token 1 loses expert 0 and keeps expert 3, whose weight is not raised.
  const RoutingResult result = run_router(v2(4, 2, 1.0), {3, 2, 1, 0, 3, 0, 1, 2});
  EXPECT_EQ(result.experts, (std::vector<int32_t>{0, 1, -1, 3}));
  EXPECT_EQ(result.weights[2], 0.0f);
  expect_near(result.weights[3], 1.0 / (1.0 + std::exp(1.0)), 1e-6, "weight");
}

TEST(RouterV2, LeavesWeightsUnnormalisedForOneChoiceOrOnRequest) {
  const double p0 = std::exp(1.0) / (std::exp(1.0) + 2.0);
  MoEConfig config = v2(3, 1);
  config.routed_scaling_factor = 2.0;
  expect_near(run_router(config, {1, 0, 0}).weights[0], 2.0 * p0, 1e-6, "K = 1");
  config.num_experts_chosen = 2;
  config.norm_topk_prob = false;
  expect_near(run_router(config, {1, 0, 0}).weights[0], 2.0 * p0, 1e-6, "norm_topk_prob = false");
  config.norm_topk_prob = true;
  const double p1 = 1.0 / (std::exp(1.0) + 2.0);
  expect_near(run_router(config, {1, 0, 0}).weights[0], 2.0 * p0 / (p0 + p1), 1e-6, "norm_topk_prob = true");
}

TEST(RouterV2, ChoosesByBiasedScoreAndWeighsByTheScoreItself) {
  MoEConfig config = v2(3, 1);
  config.score_function = ScoreFunction::kSigmoid;
  config.balance_via_topk_bias = true;
  const std::vector<float> bias{0.0f, 0.5f, 0.0f};
  const RoutingResult result = run_router(config, {1, 0, -1}, bias);
  EXPECT_EQ(result.experts, (std::vector<int32_t>{1}));
  EXPECT_EQ(result.weights[0], 0.5f);
}

TEST(RouterV2, ChoosesAnExpertWithNaNBiasLast) {
  MoEConfig config = v2(3, 3);
  config.balance_via_topk_bias = true;
  const std::vector<float> bias{NAN, 0.0f, 0.0f};
  EXPECT_EQ(run_router(config, {5, 0, 1}, bias).experts, (std::vector<int32_t>{2, 1, 0}));
}

TEST(RouterV2, LimitsAGroupByItsBestOrByTheSumOfItsTwoBest) {
  // Group 0 has the single best expert, group 1 the better two.
  const std::vector<float> logits{2, -9, 1, 1};
  MoEConfig config = v2(4, 2);
  config.score_function = ScoreFunction::kSigmoid;
  config.n_group = 2;
  config.exclude_masked_groups = true;
  config.topk_method = TopkMethod::kGroupLimitedGreedy;
  EXPECT_EQ(run_router(config, logits).experts, (std::vector<int32_t>{0, 1}));
  config.topk_method = TopkMethod::kNoauxTc;
  EXPECT_EQ(run_router(config, logits).experts, (std::vector<int32_t>{2, 3}));
}

TEST(RouterV2, KeepsEveryGroupTiedWithTheLastOfTheBest) {
  MoEConfig config = v2(6, 3);
  config.topk_method = TopkMethod::kGroupLimitedGreedy;
  config.n_group = 3;
  config.exclude_masked_groups = true;
  EXPECT_EQ(run_router(config, {1, 0, 1, 0.5, 0.9f, 0.9f}).experts, (std::vector<int32_t>{0, 2, 3}));
}

TEST(RouterV2, LetsAMaskedExpertWinOverNegativeRanksUnlessMaskedGroupsAreExcluded) {
  MoEConfig config = v2(4, 2);
  config.score_function = ScoreFunction::kSigmoid;
  config.balance_via_topk_bias = true;
  config.topk_method = TopkMethod::kGroupLimitedGreedy;
  config.n_group = 2;
  const std::vector<float> logits{3, 0, 1, 1}, bias{0.0f, -1.0f, -1.0f, -1.0f};
  RoutingResult result = run_router(config, logits, bias);
  EXPECT_EQ(result.experts, (std::vector<int32_t>{0, 2})) << "rank 0 of a masked expert beats -0.5";
  config.exclude_masked_groups = true;
  result = run_router(config, logits, bias);
  EXPECT_EQ(result.experts, (std::vector<int32_t>{0, 1}));
  const float sum = sigmoid_of(3) + 0.5f;
  expect_near(result.weights[1], 0.5f / sum, 1e-6, "weight");
}

TEST(RouterV2, GivesWeight0ToAnExcludedExpertThatMustBeChosen) {
  MoEConfig config = v2(4, 3);
  config.topk_method = TopkMethod::kGroupLimitedGreedy;
  config.n_group = 2;
  config.exclude_masked_groups = true;
  const RoutingResult result = run_router(config, {0, 0, 1, 1});
  EXPECT_EQ(result.experts, (std::vector<int32_t>{2, 3, 0}));
  EXPECT_EQ(result.weights, (std::vector<float>{0.5f, 0.5f, 0.0f}));
}

TEST(RouterV2, SwitchesAnExpertOffByALogitOfMinusInfinity) {
  const RoutingResult result = run_router(v2(3, 2), {-INFINITY, 0, 0});
  EXPECT_EQ(result.experts, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(result.weights, (std::vector<float>{0.5f, 0.5f}));
}

TEST(RouterV2, AddsTheBalanceLossOverExpertsAndOverGroupsOfThem) {
  // Two tokens, both to expert 0: mean scores p0, p1, ..., all votes on expert 0.
  MoEConfig config = v2(4, 1);
  const std::vector<float> logits{1, 0, 0, 0, 1, 0, 0, 0};
  const double p0 = std::exp(1.0) / (std::exp(1.0) + 3.0), p1 = 1.0 / (std::exp(1.0) + 3.0);
  config.aux_losses = {{0.1, 4}};
  expect_near(run_router(config, logits).totals.aux_loss, 0.1 * 16 * (p0 / 4), 1e-6, "experts");
  config.aux_losses = {{0.1, 2}};
  expect_near(run_router(config, logits).totals.aux_loss, 0.1 * 16 * ((p0 + p1) / 2 * 0.5 / 2), 1e-6, "groups of two");
}

TEST(RouterV2, TakesTheZLossOfLargeLogitsWithoutOverflow) {
  MoEConfig config = v2(2, 1);
  config.z_loss_factor = 0.5;
  const double logsumexp = 1000.0 + std::log(2.0);
  expect_near(run_router(config, {1000, 1000}).totals.z_loss, 0.5 * logsumexp * logsumexp, 1e-7, "z_loss");
}

TEST(RouterV2, TakesTheZLossOverAllTokensHoweverGroupsCutThem) {
  MoEConfig config = v2(2, 1);
  config.z_loss_factor = 1.0;
  config.tokens_per_group = 2;
  const auto square = [](double first) {
    const double logsumexp = std::log(std::exp(first) + 1.0);
    return logsumexp * logsumexp;
  };
  expect_near(run_router(config, {1, 0, 1, 0, 3, 0}).totals.z_loss, (2 * square(1) + square(3)) / 3, 1e-6, "z_loss");
}

TEST(RouterV2, GivesTheCapacityOfTheFirstGroup) {
  MoEConfig config = v2(2, 1, 1.0);
  config.tokens_per_group = 100;
  EXPECT_EQ(run_router(config, {1, 0, 1, 0, 1, 0}).totals.capacity, 2);
  config.tokens_per_group = 2;
  EXPECT_EQ(run_router(config, {1, 0, 1, 0, 1, 0}).totals.capacity, 1);
}

TEST(RouterV2, RoutesAnEmptyBatch) {
  MoEConfig config = v2(4, 2, 1.0);
  config.aux_losses = {{0.1, 4}};
  config.z_loss_factor = 0.1;
  config.tokens_per_group = 9;
  config.capacity_multiple = 4;
  const RoutingResult result = run_router(config, {});
  EXPECT_EQ(result.expert_load, (std::vector<uint32_t>{0, 0, 0, 0}));
  EXPECT_EQ(result.totals.aux_loss, 0.0);
  EXPECT_EQ(result.totals.z_loss, 0.0);
  EXPECT_EQ(result.totals.dropped_choices, 0);
  EXPECT_EQ(result.totals.capacity, 0);
}

}  // namespace
}  // namespace moe::test
