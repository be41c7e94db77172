// Routing on the device decides what it decides on the CPU, bit for bit.
#include <cmath>
#include <limits>

#include "cuda/device/device_case.h"

namespace moe::test {
namespace {

class CudaRoute : public OnDevice {
 protected:
  void expect_same(const RandomLayer& layer, const std::vector<float>& hidden, const std::vector<int32_t>& given = {}) {
    const LayerResult device = run(cuda(), layer, hidden, given), host = run(cpu(), layer, hidden, given);
    EXPECT_EQ(device.experts, host.experts);
    EXPECT_EQ(device.load, host.load);
    EXPECT_EQ(device.totals.dropped_choices, host.totals.dropped_choices);
    EXPECT_EQ(device.totals.capacity, host.totals.capacity);
    expect_close(device.totals.aux_loss, host.totals.aux_loss);
    expect_close(device.totals.z_loss, host.totals.z_loss);
    for (size_t i = 0; i < host.weights.size(); ++i)
      EXPECT_TRUE(device.weights[i] == host.weights[i] ||
                  (std::isnan(device.weights[i]) && std::isnan(host.weights[i])))
          << "slot " << i << ": " << device.weights[i] << " for " << host.weights[i];
  }

 private:
  static LayerResult run(Device& backend, const RandomLayer& layer, const std::vector<float>& hidden,
                         const std::vector<int32_t>& given) {
    const Layer made(backend, layer.spec, layer.host, [](int64_t, int64_t) {}, {});
    Workspace workspace(backend);
    const auto tokens = static_cast<int64_t>(hidden.size()) / layer.spec.hidden_size;
    const int64_t slots = tokens * layer.spec.moe.num_experts_chosen;
    LayerResult result{{},
                       std::vector<int32_t>(slots, -7),
                       std::vector<float>(slots, -7.0f),
                       std::vector<uint32_t>(layer.spec.moe.expert_num, 7),
                       {}};
    made.forward(workspace, {hidden.data(), DType::kFloat32, tokens, given.empty() ? nullptr : given.data()},
                 {nullptr, result.experts.data(), result.weights.data(), result.load.data(), &result.totals}, {});
    return result;
  }
  static void expect_close(double actual, double expected) {
    EXPECT_TRUE(std::fabs(actual - expected) <= 1e-9 * std::max(1.0, std::fabs(expected)))
        << actual << " for " << expected;
  }
};

MoEConfig v1(double factor, int64_t group = 0) {
  MoEConfig config;
  config.routing_policy = RoutingPolicy::kTopkRouterV1;
  config.capacity_factor = factor;
  config.tokens_per_group = group;
  return config;
}

MoEConfig v2(double factor, int64_t group = 0) {
  MoEConfig config = v1(factor, group);
  config.routing_policy = RoutingPolicy::kTopkRouterV2;
  return config;
}

struct RouteCase {
  int32_t experts, top_k;
  int64_t tokens;
  MoEConfig config;
};

RandomLayer layer_for(const RouteCase& shape, uint32_t seed = 1) {
  RandomLayer layer({.hidden = 19, .intermediate = 4, .experts = shape.experts, .top_k = shape.top_k, .seed = seed});
  MoEConfig config = shape.config;
  config.expert_num = shape.experts;
  config.num_experts_chosen = shape.top_k;
  layer.spec.moe = config;
  return layer;
}

std::vector<RouteCase> cases() {
  std::vector<RouteCase> all{{6, 2, 0, v1(1.0)},       {6, 2, 1, v1(1.0)},       {6, 2, 75, v1(1.0)},
                             {6, 1, 40, v1(0.7)},      {5, 5, 33, v1(1.2)},      {40, 3, 100, v1(1.0, 30)},
                             {6, 2, 0, v2(1.0)},       {6, 2, 75, v2(1.0)},      {40, 3, 100, v2(0.8, 30)},
                             {5, 5, 33, v2(-1)},       {512, 40, 7, v2(-1)},     {129, 4, 300, v2(1.5)},
                             {16, 4, 70, v2(-1)},      {16, 4, 70, v2(-1)},      {16, 4, 70, v2(1.0)},
                             {12, 3, 600, v2(1.1, 0)}, {12, 3, 600, v1(1.1, 0)}, {1000, 1, 530, v2(-1)}};
  all[12].config.score_function = ScoreFunction::kSigmoid;
  all[12].config.topk_method = TopkMethod::kNoauxTc;
  all[12].config.n_group = 4;
  all[12].config.topk_group = 2;
  all[12].config.routed_scaling_factor = 2.5;
  all[13].config.topk_method = TopkMethod::kGroupLimitedGreedy;
  all[13].config.n_group = 8;
  all[13].config.topk_group = 1;
  all[13].config.exclude_masked_groups = true;
  all[13].config.norm_topk_prob = false;
  all[14].config.enable_sdrop = true;
  all[14].config.capacity_multiple = 4;
  for (const size_t i : {7, 8, 12, 15}) {
    all[i].config.aux_losses = {{0.1, all[i].experts}, {0.2, 2}};
    all[i].config.z_loss_factor = 0.01;
  }
  return all;
}

TEST_F(CudaRoute, AgreesWithTheCpuInEveryPolicy) {
  for (const RouteCase& shape : cases()) {
    SCOPED_TRACE("E " + std::to_string(shape.experts) + " K " + std::to_string(shape.top_k) + " T " +
                 std::to_string(shape.tokens) + " capacity " + std::to_string(shape.config.capacity_factor));
    RandomLayer layer = layer_for(shape);
    expect_same(layer, layer.hidden(shape.tokens));
  }
}

TEST_F(CudaRoute, AgreesWithTheCpuOnTies) {
  for (const MoEConfig& config : {v1(1.0), v2(1.0), v2(-1)}) {
    RandomLayer layer = layer_for({24, 4, 64, config});
    std::vector<float> hidden = layer.hidden(64);
    for (size_t i = 0; i < hidden.size(); ++i) hidden[i] = i / 19 % 3 == 0 ? 0.0f : hidden[i % (2 * 19)];
    expect_same(layer, hidden);
  }
}

TEST_F(CudaRoute, AgreesWithTheCpuOnTokensThatCannotBeRouted) {
  for (const MoEConfig& config : {v1(1.0, 20), v2(1.0, 20), v2(-1)}) {
    RandomLayer layer = layer_for({7, 3, 64, config});
    layer.spec.moe.z_loss_factor = 0.1;
    layer.spec.moe.aux_losses = {{0.1, 7}};
    std::vector<float> hidden = layer.hidden(64);
    hidden[0] = hidden[5 * 19 + 3] = std::numeric_limits<float>::quiet_NaN();
    hidden[6 * 19 + 3] = std::numeric_limits<float>::infinity();
    for (int64_t i = 40 * 19; i < 60 * 19; ++i) hidden[i] = std::numeric_limits<float>::quiet_NaN();
    expect_same(layer, hidden);
  }
}

TEST_F(CudaRoute, AgreesWithTheCpuWithBiases) {
  std::vector<float> bias(16), correction(16);
  for (size_t e = 0; e < 16; ++e) {
    bias[e] = 0.3f * static_cast<float>(e % 5);
    correction[e] = 0.1f * static_cast<float>(e % 3) - 0.05f;
  }
  correction[3] = std::numeric_limits<float>::quiet_NaN();
  MoEConfig config = v2(1.0);
  config.balance_via_topk_bias = true;
  config.score_function = ScoreFunction::kSigmoid;
  config.aux_losses = {{0.1, 16}};
  RandomLayer layer = layer_for({16, 4, 90, config});
  layer.host.router_bias = {bias.data(), DType::kFloat32, 16, 1};
  layer.host.correction_bias = {correction.data(), DType::kFloat32, 16, 1};
  expect_same(layer, layer.hidden(90));
}

// Every field beyond MindFormers', and weights with it.
std::vector<MoEConfig> extended() {
  std::vector<MoEConfig> all(8, v2(-1));
  all[0].score_function = ScoreFunction::kSqrtSoftplus;
  all[0].logit_soft_cap = 1.5;
  all[0].z_loss_factor = 0.1;
  all[1].score_function = ScoreFunction::kSparseMixer;
  all[1].sparsemixer_epsilon = 0.2;
  all[1].norm_topk_prob = false;
  all[2].choose_by_logit = true;
  all[2].score_function = ScoreFunction::kSigmoid;
  all[3].norm_topk_single = true;
  all[4].zero_expert_num = 3;
  all[5].zero_expert_num = 3;
  all[5].expert_capacity = 5;
  all[5].tokens_per_group = 20;
  all[5].enable_sdrop = true;
  all[6].always_chosen_expert_num = 1;
  all[7].score_function = ScoreFunction::kSqrtSoftplus;
  all[7].aux_losses = {{0.1, 11}};
  all[7].expert_capacity = 9;
  return all;
}

TEST_F(CudaRoute, AgreesWithTheCpuBeyondMindFormers) {
  for (const MoEConfig& config : extended())
    for (const int32_t top_k :
         {config.norm_topk_single ? 1 : 2, config.score_function == ScoreFunction::kSparseMixer ? 2 : 11})
      for (const int64_t tokens : {0, 1, 75}) {
        SCOPED_TRACE("K " + std::to_string(top_k) + " T " + std::to_string(tokens) + " score " +
                     std::to_string(static_cast<int>(config.score_function)) + " Z " +
                     std::to_string(config.zero_expert_num));
        RandomLayer layer({.hidden = 19, .intermediate = 4, .experts = 11, .top_k = top_k});
        RandomLayer wider({.hidden = 19, .intermediate = 4, .experts = 11 + config.zero_expert_num, .top_k = top_k});
        layer.spec.moe = config;
        layer.spec.moe.expert_num = 11;
        layer.spec.moe.num_experts_chosen = top_k;
        layer.host.router = wider.host.router;
        std::vector<float> scale(11);
        for (size_t e = 0; e < scale.size(); ++e) scale[e] = 0.7f * static_cast<float>(e % 4) - 0.5f;
        layer.host.expert_scale = {scale.data(), DType::kFloat32, 11, 1};
        std::vector<float> hidden = layer.hidden(tokens);
        if (tokens > 3) hidden[3 * 19] = std::numeric_limits<float>::quiet_NaN();
        if (tokens > 9) std::fill_n(hidden.begin() + 7 * 19, 2 * 19, 0.0f);  // ties
        expect_same(layer, hidden);
        std::vector<int32_t> given(tokens * top_k);
        for (size_t slot = 0; slot < given.size(); ++slot)
          given[slot] = static_cast<int32_t>(slot * 7 % layer.spec.moe.router_rows());
        const bool weighs = config.score_function != ScoreFunction::kSparseMixer && config.aux_losses.empty();
        if (weighs && config.always_chosen_expert_num == 0) expect_same(layer, hidden, given);
      }
}

TEST_F(CudaRoute, AgreesWithTheCpuWhereProbabilitiesVanish) {
  RandomLayer layer = layer_for({6, 3, 50, v1(1.0)});
  std::vector<float> hidden = layer.hidden(50);
  for (float& value : hidden) value *= 300.0f;  // most scores are 0
  expect_same(layer, hidden);
}

}  // namespace
}  // namespace moe::test
