// Every routing MoEConfig describes, on the device where it may be, against the CPU's.
#include <cstdlib>

#include "ascend/backend/on_both.h"

namespace moe::test {
namespace {

using ascend::GatingMethod;

RandomLayer small_layer(int32_t experts = 16, int32_t top_k = 4) {
  return RandomLayer({.hidden = 48, .intermediate = 16, .experts = experts, .top_k = top_k, .held = best_held()});
}

GatingMethod method_of(const RandomLayer& random) {
  ascend::AscendDevice npu(0);
  const auto router = npu.moe().prepare_router(random.spec, random.host);
  return static_cast<const ascend::AscendRouter&>(*router).gating.method;
}

// Where the chip and the release have the operator, the method is `wanted`, else the host's.
void expect_routed(RandomLayer& random, GatingMethod wanted) {
  const ascend::cann::Operators& operators = ascend::cann_library().operators;
  if (!profile().gating || (wanted == GatingMethod::kScores && !operators.gating)) wanted = GatingMethod::kHost;
  EXPECT_EQ(method_of(random), wanted);
  expect_as_on_cpu(random, random.hidden(37));
}

TEST(Routing, SoftmaxIsAnOperator) {
  for (const bool normalizes : {true, false})
    for (const double scale : {1.0, 2.5}) {
      RandomLayer random = small_layer();
      random.spec.moe.norm_topk_prob = normalizes;
      random.spec.moe.routed_scaling_factor = scale;
      expect_routed(random, GatingMethod::kSoftmax);
    }
}

TEST(Routing, OneChoiceIsNotNormalised) {
  RandomLayer random = small_layer(8, 1);
  expect_routed(random, GatingMethod::kSoftmax);
}

TEST(Routing, RouterBiasIsAdded) {
  RandomLayer random = small_layer();
  std::vector<float> bias(16);
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = 0.1f * static_cast<float>(i % 5);
  random.host.router_bias = {bias.data(), DType::kFloat32, 16, 1};
  expect_routed(random, GatingMethod::kSoftmax);
}

TEST(Routing, SigmoidWithBiasAndGroupsIsAnOperator) {
  RandomLayer random = small_layer();
  MoEConfig& moe = random.spec.moe;
  moe.score_function = ScoreFunction::kSigmoid;
  moe.norm_topk_epsilon = 1e-20;
  moe.routed_scaling_factor = 2.5;
  expect_routed(random, GatingMethod::kScores);

  std::vector<float> bias(16);
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = 0.05f * static_cast<float>(i * 7 % 11);
  random.host.correction_bias = {bias.data(), DType::kFloat32, 16, 1};
  moe.balance_via_topk_bias = true;
  expect_routed(random, GatingMethod::kScores);

  moe.topk_method = TopkMethod::kNoauxTc;
  moe.n_group = 4;
  moe.topk_group = 2;
  moe.exclude_masked_groups = true;
  expect_routed(random, GatingMethod::kScores);
  moe.exclude_masked_groups = false;
  expect_routed(random, GatingMethod::kHost);
}

TEST(Routing, SoftmaxWithGroupsIsAnOperator) {
  RandomLayer random = small_layer();
  MoEConfig& moe = random.spec.moe;
  moe.norm_topk_prob = false;
  moe.routed_scaling_factor = 16;
  moe.topk_method = TopkMethod::kGroupLimitedGreedy;
  moe.n_group = 4;
  moe.topk_group = 2;
  moe.exclude_masked_groups = true;
  expect_routed(random, GatingMethod::kScores);
}

TEST(Routing, CapacityAndLossesAreTheHosts) {
  RandomLayer random = small_layer();
  MoEConfig& moe = random.spec.moe;
  moe.capacity_factor = 0.75;
  expect_routed(random, GatingMethod::kHost);
  moe.enable_sdrop = true;
  moe.tokens_per_group = 10;
  expect_routed(random, GatingMethod::kHost);
  moe.capacity_factor = -1;
  moe.aux_losses = {{0.01, 16}, {0.02, 4}};
  moe.z_loss_factor = 0.001;
  expect_routed(random, GatingMethod::kHost);

  moe = {};
  moe.expert_num = 16;
  moe.num_experts_chosen = 2;
  expect_routed(random, GatingMethod::kHost);
  moe.capacity_factor = 0.1;  // nearly all is dropped
  expect_routed(random, GatingMethod::kHost);
}

TEST(Routing, WhatOtherModelsDoIsTheHosts) {
  std::vector<MoEConfig> all(9, small_layer().spec.moe);
  all[0].score_function = ScoreFunction::kSqrtSoftplus;
  all[1].score_function = ScoreFunction::kSparseMixer;
  all[1].num_experts_chosen = 2;
  all[1].norm_topk_prob = false;
  all[2].logit_soft_cap = 2.0;
  all[3].choose_by_logit = true;
  all[4].num_experts_chosen = 1;
  all[4].norm_topk_single = true;
  all[5].zero_expert_num = 4;
  all[6].always_chosen_expert_num = 2;
  all[7].weight_on_input = true;
  all[8].expert_capacity = 5;
  for (const MoEConfig& moe : all) {
    RandomLayer random = small_layer(), wider = small_layer(16 + moe.zero_expert_num);
    random.spec.moe = moe;
    random.host.router = wider.host.router;
    expect_routed(random, GatingMethod::kHost);
  }
  RandomLayer random = small_layer();
  const std::vector<float> scale(16, 0.5f);
  random.host.expert_scale = {scale.data(), DType::kFloat32, 16, 1};
  expect_routed(random, GatingMethod::kHost);
}

TEST(Routing, ExpertsOfEqualWeightsAreTheHosts) {
  RandomLayer random = small_layer();
  WeightMatrix& router = random.host.router;
  router.out_stride = 0;  // every expert has the first one's weights
  expect_routed(random, GatingMethod::kHost);
}

TEST(Routing, TheHostCanBeAskedFor) {
  RandomLayer random = small_layer();
  setenv("MOE_ASCEND_ROUTER", "host", 1);
  expect_routed(random, GatingMethod::kHost);
  setenv("MOE_ASCEND_ROUTER", "elsewhere", 1);
  EXPECT_THROW(method_of(random), Error);
  unsetenv("MOE_ASCEND_ROUTER");
}

TEST(Routing, NotesSayWhyTheHostRoutes) {
  RandomLayer random = small_layer();
  random.spec.moe.capacity_factor = 1;
  ascend::AscendDevice npu(0);
  const auto notes = npu.moe().prepare_router(random.spec, random.host)->notes();
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find(profile().gating ? "capacity" : "float32"), std::string::npos) << notes[0];
}

}  // namespace
}  // namespace moe::test
