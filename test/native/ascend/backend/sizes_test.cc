// The smallest layers there are, and the largest that operators take: an operator's limits differ between releases of
// CANN and chips, so this runs on every pair of them.
#include <algorithm>
#include <functional>

#include "ascend/backend/on_both.h"

namespace moe::test {
namespace {

constexpr int32_t kSizes[] = {1, 2, 3};

std::string described(const LayerSpec& spec, int64_t tokens) {
  const MoEConfig& moe = spec.moe;
  return "T " + std::to_string(tokens) + " H " + std::to_string(spec.hidden_size) + " I " +
         std::to_string(spec.intermediate_size) + " S " + std::to_string(spec.shared_size) + " E " +
         std::to_string(moe.expert_num) + " K " + std::to_string(moe.num_experts_chosen) + " groups " +
         std::to_string(moe.topk_group) + " of " + std::to_string(moe.n_group) + " weights " +
         std::to_string(static_cast<int>(spec.weight_type)) + " activation " +
         std::to_string(static_cast<int>(spec.activation)) +
         (moe.score_function == ScoreFunction::kSigmoid ? " sigmoid" : "") + (moe.norm_topk_prob ? " normalised" : "");
}

class Sizes : public testing::Test {
 protected:
  void expect_as_on_cpu(RandomLayer& random, int64_t tokens) {
    expect_as_on_cpu(random, tokens, random.spec.weight_type);
  }
  void expect_as_on_cpu(RandomLayer& random, int64_t tokens, WeightType precision) {
    SCOPED_TRACE(described(random.spec, tokens));
    const std::vector<float> hidden = random.hidden(tokens);
    const Result expected = forward(*cpu_, make_layer(*cpu_, random), hidden);
    constexpr double kSizeOfTerms = 1;
    try {
      expect_same(forward(npu_, make_layer(npu_, random), hidden), expected, precision, kSizeOfTerms);
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }

  // Why the layer is refused before any of it runs.
  std::string refusal(const LayerOptions& options) {
    const RandomLayer random(options);
    try {
      make_layer(npu_, random);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kConfig ? error.what() : "not kConfig: " + std::string(error.what());
    }
    return "";
  }

  std::unique_ptr<Device> cpu_ = cpu::plugin().open(0);
  ascend::AscendDevice npu_{0};
};

std::vector<WeightType> types_of_the_chip() {
  if (!profile().bfloat16) return {WeightType::kFloat16};
  return {WeightType::kFloat32, WeightType::kBFloat16, WeightType::kFloat16, WeightType::kInt8};
}

TEST_F(Sizes, OfOneToThreeGiveWhatTheCpuGives) {
  for (const WeightType type : types_of_the_chip())
    for (const int32_t hidden : kSizes)
      for (const int32_t intermediate : kSizes)
        for (const int32_t experts : kSizes)
          for (int32_t top_k = 1; top_k <= experts; ++top_k) {
            RandomLayer random({.hidden = hidden,
                                .intermediate = intermediate,
                                .experts = experts,
                                .top_k = top_k,
                                .shared = (hidden + intermediate + experts) % 4,
                                .held = {type},
                                .biases = (hidden + top_k) % 2 == 0});
            for (const int32_t tokens : kSizes) expect_as_on_cpu(random, tokens);
          }
}

TEST_F(Sizes, OfOneToThreeHaveEveryActivation) {
  for (const Activation activation : {Activation::kSwiGLU, Activation::kSwiGLUOai, Activation::kGeGLU,
                                      Activation::kGELU, Activation::kGELUTanh, Activation::kReLU, Activation::kSiLU})
    for (const int32_t width : kSizes)
      for (const int32_t tokens : kSizes) {
        RandomLayer random({.hidden = 2,
                            .intermediate = width,
                            .experts = 2,
                            .top_k = 1,
                            .shared = width,
                            .activation = activation,
                            .held = best_held(),
                            .shared_gate = true});
        expect_as_on_cpu(random, tokens);
      }
}

// What a config may say of routing, but for groups.
void for_every_scoring(MoEConfig& moe, const std::function<void()>& then) {
  for (const bool sigmoid : {false, true})
    for (const bool normalizes : {false, true})
      for (const bool bias : {false, true})
        for (const double scale : {1.0, 2.5}) {
          moe.score_function = sigmoid ? ScoreFunction::kSigmoid : ScoreFunction::kSoftmax;
          moe.norm_topk_prob = normalizes;
          moe.balance_via_topk_bias = bias;
          moe.routed_scaling_factor = scale;
          then();
        }
}

TEST_F(Sizes, OfOneToThreeExpertsAreRoutedAsOnTheCpu) {
  for (const int32_t experts : kSizes)
    for (int32_t top_k = 1; top_k <= experts; ++top_k) {
      RandomLayer random({.hidden = 3, .intermediate = 2, .experts = experts, .top_k = top_k, .held = best_held()});
      const std::vector<float> bias{0.25f, -0.125f, 0.5f};
      const auto run = [&] {
        const bool biased = random.spec.moe.balance_via_topk_bias;
        random.host.correction_bias = biased ? WeightVector{bias.data(), DType::kFloat32, experts, 1} : WeightVector{};
        for (const int32_t tokens : kSizes) expect_as_on_cpu(random, tokens);
      };
      for_every_scoring(random.spec.moe, run);
      for (const RoutingPolicy policy : {RoutingPolicy::kTopkRouterV1, RoutingPolicy::kTopkRouterV2}) {
        random.spec.moe = {};
        random.spec.moe.expert_num = experts;
        random.spec.moe.num_experts_chosen = top_k;
        random.spec.moe.routing_policy = policy;
        random.spec.moe.capacity_factor = 0.5;
        run();
      }
    }
}

TEST_F(Sizes, OfOneToThreeGroupsAreRoutedAsOnTheCpu) {
  for (const TopkMethod method : {TopkMethod::kGroupLimitedGreedy, TopkMethod::kNoauxTc})
    for (const int32_t groups : kSizes)
      for (const int32_t size : kSizes)
        for (int32_t kept = 1; kept <= groups; ++kept)
          for (int32_t top_k = 1; top_k <= std::min(3, size * kept); ++top_k) {
            RandomLayer random(
                {.hidden = 3, .intermediate = 2, .experts = groups * size, .top_k = top_k, .held = best_held()});
            MoEConfig& moe = random.spec.moe;
            moe.topk_method = method;
            moe.n_group = groups;
            moe.topk_group = kept;
            for (const bool excludes : {false, true}) {
              moe.exclude_masked_groups = excludes;
              for_every_scoring(moe, [&] { expect_as_on_cpu(random, 3); });
            }
          }
}

TEST_F(Sizes, BeyondTheOperatorsAreRefusedBeforeTheyRun) {
  const Held held = best_held();
  RandomLayer most({.hidden = 2, .intermediate = 1, .experts = 1024, .top_k = 2, .held = held});
  expect_as_on_cpu(most, 3);
  EXPECT_NE(refusal({.hidden = 2, .intermediate = 1, .experts = 1025, .top_k = 2, .held = held}).find("got 1025"),
            std::string::npos);

  const int32_t multiple = static_cast<int32_t>(profile().column_multiple), widest = 65535 / multiple * multiple;
  const LayerOptions narrow{
      .hidden = 1, .intermediate = 1, .experts = 1, .top_k = 1, .activation = Activation::kReLU, .held = held};
  LayerOptions wide = narrow, deep = narrow, gated = narrow, shared = narrow;
  wide.intermediate = widest;
  RandomLayer widest_layer(wide);
  expect_as_on_cpu(widest_layer, 1, WeightType::kFloat16);  // the CPU's float32 sums are no better at this length
  wide.intermediate = deep.hidden = shared.shared = widest + 1;
  gated.activation = Activation::kSwiGLU;
  gated.intermediate = 32768;
  for (const LayerOptions& options : {wide, deep, gated, shared})
    EXPECT_NE(refusal(options).find("Expected at most 65535"), std::string::npos) << refusal(options);
}

}  // namespace
}  // namespace moe::test
