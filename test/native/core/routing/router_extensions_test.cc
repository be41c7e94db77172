// What models other than MindFormers' have: other scores, caps, identities, choices from outside.
#include <gtest/gtest.h>

#include "naive_router.h"

namespace moe::test {
namespace {

MoEConfig v2(int32_t experts, int32_t top_k) {
  MoEConfig config;
  config.routing_policy = RoutingPolicy::kTopkRouterV2;
  config.expert_num = experts;
  config.num_experts_chosen = top_k;
  config.capacity_factor = -1;
  return config;
}

TEST(RouterExtensions, EqualTheNaiveFormulationOnRandomConfigurations) {
  for (uint32_t seed = 0; seed < 6000; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const auto experts = static_cast<int32_t>(random.integer(2, random.one_in(8) ? 40 : 9));
    MoEConfig config = v2(experts, static_cast<int32_t>(random.integer(1, std::min(experts, 6))));
    config.score_function =
        random.one_of({ScoreFunction::kSoftmax, ScoreFunction::kSigmoid, ScoreFunction::kSqrtSoftplus});
    config.choose_by_logit = random.one_in(3);
    config.balance_via_topk_bias = !config.choose_by_logit && random.one_in(3);
    config.norm_topk_prob = !random.one_in(3);
    config.norm_topk_single = random.one_in(2);
    config.norm_topk_epsilon = random.one_of({0.0, 1e-20, 0.25});
    config.routed_scaling_factor = random.one_of({1.0, 2.5});
    config.logit_soft_cap = random.one_of({0.0, 0.0, 2.0, 30.0});
    config.enable_sdrop = random.one_in(2);
    config.z_loss_factor = random.one_of({0.0, 0.001});
    if (random.one_in(3)) {
      config.zero_expert_num = static_cast<int32_t>(random.integer(1, 5));
      config.num_experts_chosen = static_cast<int32_t>(random.integer(1, experts + config.zero_expert_num));
    } else if (config.num_experts_chosen > 1 && random.one_in(2)) {
      config.always_chosen_expert_num = static_cast<int32_t>(random.integer(1, config.num_experts_chosen - 1));
    }
    const int64_t tokens = random.integer(1, 24);
    if (config.always_chosen_expert_num == 0 && random.one_in(2)) config.expert_capacity = random.integer(1, 7);
    if (config.zero_expert_num + config.always_chosen_expert_num == 0 && random.one_in(3))
      config.aux_losses = {{0.1, experts}};
    config.tokens_per_group = random.one_in(2) ? 0 : random.integer(1, tokens + 2);
    const int32_t rows = config.router_rows();

    std::vector<float> logits = grid_logits(random, tokens * rows, 6, 0.5f);
    for (float& logit : logits) {
      logit += 0.125f;
      if (seed % 4 == 1 && config.logit_soft_cap == 0.0 && random.one_in(4))
        logit = random.one_of({-INFINITY, -60.0f, 90.0f});
      if (seed % 8 == 3 && random.one_in(40)) logit = random.one_of({NAN, INFINITY});
    }
    Random other(seed + 1);
    const std::vector<float> bias =
        config.balance_via_topk_bias ? grid_logits(other, rows, 5, 0.125f) : std::vector<float>();
    const std::vector<float> scale = random.one_in(2) ? grid_logits(other, experts, 5, 0.3f) : std::vector<float>();
    std::vector<int32_t> given;
    if (config.always_chosen_expert_num == 0 && config.aux_losses.empty() && random.one_in(3))
      for (int64_t slot = 0; slot < tokens * config.num_experts_chosen; ++slot)
        given.push_back(static_cast<int32_t>(random.integer(0, rows - 1)));
    expect_same_routing(run_router(config, logits, bias, scale, given), naive_v2(config, logits, {bias, scale, given}));
    if (HasFailure()) return;
  }
}

TEST(RouterExtensions, MixTwoExpertsSparselyAsTheNaiveFormulationDoes) {
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    MoEConfig config = v2(static_cast<int32_t>(random.integer(2, 19)), 2);
    config.score_function = ScoreFunction::kSparseMixer;
    config.norm_topk_prob = false;
    config.sparsemixer_epsilon = random.one_of({0.01, 0.11, 0.37});
    config.zero_expert_num = random.one_in(3) ? 3 : 0;
    config.expert_capacity = random.one_in(3) ? 2 : 0;
    config.routed_scaling_factor = random.one_of({1.0, 2.5});
    std::vector<float> logits = grid_logits(random, 7 * config.router_rows(), 6, 0.5f);
    for (float& logit : logits) {
      logit += 0.125f;
      if (seed % 4 == 1 && random.one_in(2)) logit = -INFINITY;
      if (seed % 8 == 3 && random.one_in(40)) logit = NAN;
    }
    expect_same_routing(run_router(config, logits), naive_v2(config, logits, {}));
    if (HasFailure()) return;
  }
}

TEST(RouterExtensions, ChooseByLogitWhereScoresRoundToTheSame) {
  MoEConfig config = v2(3, 1);
  config.score_function = ScoreFunction::kSigmoid;
  EXPECT_EQ(run_router(config, {40, 41, 42}).experts, (std::vector<int32_t>{0}));
  config.choose_by_logit = true;
  EXPECT_EQ(run_router(config, {40, 41, 42}).experts, (std::vector<int32_t>{2}));
}

TEST(RouterExtensions, GiveASingleChoiceWeightOneOnRequest) {
  MoEConfig config = v2(3, 1);
  config.norm_topk_epsilon = 0.0;
  config.norm_topk_single = true;
  EXPECT_EQ(run_router(config, {1, 0, 0}).weights, (std::vector<float>{1.0f}));
}

TEST(RouterExtensions, CountNoSlotAndNoLoadForIdentities) {
  MoEConfig config = v2(2, 2);
  config.zero_expert_num = 2;
  config.expert_capacity = 1;
  const RoutingResult result = run_router(config, {3, 0, 2, 1, 3, 0, 2, 1, 3, 2, 0, 1});
  EXPECT_EQ(result.experts, (std::vector<int32_t>{0, 2, -1, 2, -1, 1}));
  EXPECT_EQ(result.expert_load, (std::vector<uint32_t>{1, 1}));
  EXPECT_EQ(result.totals.dropped_choices, 2);
}

}  // namespace
}  // namespace moe::test
