// Whole layers, against the CPU's.
#include <cstdlib>
#include <limits>

#include "ascend/backend/on_both.h"

namespace moe::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

TEST(Layer, IsAsOnTheCpuForAnyNumberOfTokens) {
  RandomLayer random({.hidden = 64, .intermediate = 96, .experts = 8, .top_k = 3, .held = best_held()});
  for (const int64_t tokens : {0, 1, 2, 7, 40}) expect_as_on_cpu(random, random.hidden(tokens));
}

TEST(Layer, IsAsOnTheCpuForOddSizes) {
  for (const auto& [hidden, intermediate] : {std::pair{1, 1}, {5, 3}, {33, 31}, {17, 70}, {96, 40}}) {
    RandomLayer random(
        {.hidden = hidden, .intermediate = intermediate, .experts = 5, .top_k = 2, .shared = 9, .held = best_held()});
    expect_as_on_cpu(random, random.hidden(11));
  }
}

TEST(Layer, IsAsOnTheCpuForAnyChoice) {
  for (const auto& [experts, top_k] : {std::pair{1, 1}, {2, 2}, {3, 1}, {64, 64}, {512, 8}, {257, 3}}) {
    RandomLayer random({.hidden = 32, .intermediate = 8, .experts = experts, .top_k = top_k, .held = best_held()});
    expect_as_on_cpu(random, random.hidden(9));
  }
}

TEST(Layer, HasEveryActivationAndBias) {
  for (const Activation& activation : kEveryActivation)
    for (const bool biases : {false, true}) {
      RandomLayer random({.hidden = 40,
                          .intermediate = 24,
                          .experts = 4,
                          .top_k = 2,
                          .shared = 12,
                          .activation = activation,
                          .held = best_held(),
                          .biases = biases,
                          .shared_gate = biases});
      expect_as_on_cpu(random, random.hidden(13));
    }
}

TEST(Layer, HasALatentSize) {
  std::vector<WeightType> types{WeightType::kFloat16};
  if (profile().bfloat16)
    types = {WeightType::kFloat32, WeightType::kBFloat16, WeightType::kFloat16, WeightType::kInt8};
  for (const WeightType type : types)
    for (const auto& [hidden, latent] : {std::pair{33, 17}, {64, 32}, {20, 41}})
      for (const int32_t shared : {0, 9}) {
        RandomLayer random({.hidden = hidden,
                            .intermediate = 19,
                            .experts = 4,
                            .top_k = 2,
                            .shared = shared,
                            .latent = latent,
                            .activation = Activation::kSiLU,
                            .shared_activation = Activation::kGeGLUTanh,
                            .held = {type}});
        for (const int64_t tokens : {0, 1, 13}) expect_as_on_cpu(random, random.hidden(tokens));
      }
}

TEST(Layer, HasEveryTypeTheChipHas) {
  std::vector<WeightType> types{WeightType::kFloat16};
  if (profile().bfloat16)
    types = {WeightType::kFloat32, WeightType::kBFloat16, WeightType::kFloat16, WeightType::kInt8};
  for (const WeightType type : types)
    for (const Layout layout : {Layout::kRows, Layout::kTransposed, Layout::kStrided}) {
      RandomLayer random({.hidden = 64,
                          .intermediate = 48,
                          .experts = 6,
                          .top_k = 2,
                          .shared = 16,
                          .stored = DType::kBFloat16,
                          .held = {type},
                          .layout = layout,
                          .biases = true,
                          .shared_gate = true});
      expect_as_on_cpu(random, random.hidden(21));
    }
}

TEST(Layer, RoundsRowsToInt8WhereAsked) {
  if (!profile().bfloat16) GTEST_SKIP() << "the 310P has no such product";
  RandomLayer random(
      {.hidden = 64, .intermediate = 48, .experts = 6, .top_k = 2, .shared = 16, .held = {WeightType::kInt8}});
  const std::vector<float> hidden = random.hidden(21);
  const std::unique_ptr<Device> cpu = cpu::plugin().open(0);
  const Result expected = forward(*cpu, make_layer(*cpu, random), hidden);
  ascend::AscendDevice npu(0);
  const Result exact = forward(npu, make_layer(npu, random), hidden);
  random.spec.row_type = RowType::kInt8;
  const Result rounded = forward(npu, make_layer(npu, random), hidden);
  EXPECT_EQ(rounded.experts, expected.experts);
  EXPECT_NE(rounded.output, exact.output);
  double difference = 0, norm = 0;
  for (size_t i = 0; i < hidden.size(); ++i) {
    difference += std::pow(rounded.output[i] - expected.output[i], 2);
    norm += std::pow(expected.output[i], 2);
  }
  EXPECT_TRUE(std::sqrt(difference / norm) <= 0.03) << std::sqrt(difference / norm);

  RandomLayer biased({.held = {WeightType::kInt8}, .biases = true});
  biased.spec.row_type = RowType::kInt8;
  EXPECT_THROW(make_layer(npu, biased), Error);
}

TEST(Layer, RefusesTypesTheChipHasNot) {
  ascend::AscendDevice npu(0);
  std::vector<Held> refused{{WeightType::kInt4, 32}, {WeightType::kInt8, 32}};
  if (!profile().bfloat16)
    refused.insert(refused.end(), {{WeightType::kFloat32}, {WeightType::kBFloat16}, {WeightType::kInt8}});
  for (const Held& held : refused) {
    const RandomLayer random({.held = held});
    try {
      make_layer(npu, random);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kConfig);
      EXPECT_NE(std::string(error.what()).find("got"), std::string::npos) << error.what();
    }
  }
}

TEST(Layer, KeepsTokensThatAreNotFiniteToThemselves) {
  RandomLayer random({.hidden = 32, .intermediate = 16, .experts = 6, .top_k = 2, .shared = 8, .held = best_held()});
  std::vector<float> hidden = random.hidden(12);
  hidden[2 * 32 + 5] = kNaN;
  hidden[7 * 32] = kInfinity;
  hidden[11 * 32 + 31] = -kInfinity;
  expect_as_on_cpu(random, hidden);
  std::fill(hidden.begin(), hidden.end(), kNaN);
  expect_as_on_cpu(random, hidden);
}

TEST(Layer, BreaksTiesAsTheCpuDoes) {
  RandomLayer random({.hidden = 32, .intermediate = 16, .experts = 6, .top_k = 3, .held = best_held()});
  std::vector<float> hidden = random.hidden(6);
  std::fill_n(hidden.begin() + 32, 32, 0.0f);
  expect_as_on_cpu(random, hidden);

  RandomLayer short_tokens({.hidden = 3, .intermediate = 16, .experts = 6, .top_k = 3, .held = best_held()});
  hidden = short_tokens.hidden(6);
  std::fill_n(hidden.begin() + 3, 3, 0.0f);
  expect_as_on_cpu(short_tokens, hidden);
}

TEST(Layer, CutsWhatItsWorkspaceDoesNotHold) {
  setenv("MOE_ASCEND_WORKSPACE_MB", "0.01", 1);
  RandomLayer random({.hidden = 64, .intermediate = 96, .experts = 8, .top_k = 3, .shared = 32, .held = best_held()});
  expect_as_on_cpu(random, random.hidden(150));
  setenv("MOE_ASCEND_WORKSPACE_MB", "many", 1);
  EXPECT_THROW(ascend::AscendDevice(0), Error);
  unsetenv("MOE_ASCEND_WORKSPACE_MB");
}

TEST(Layer, RepeatsItselfBitForBit) {
  RandomLayer random({.hidden = 48, .intermediate = 32, .experts = 8, .top_k = 2, .held = best_held()});
  ascend::AscendDevice npu(0);
  const Layer layer = make_layer(npu, random);
  const std::vector<float> hidden = random.hidden(33);
  EXPECT_EQ(forward(npu, layer, hidden).output, forward(npu, layer, hidden).output);
}

TEST(Layer, CountsTheLoadWithoutRunningExperts) {
  RandomLayer random({.hidden = 48, .intermediate = 32, .experts = 8, .top_k = 2, .held = best_held()});
  ascend::AscendDevice npu(0);
  const Layer layer = make_layer(npu, random);
  const std::vector<float> hidden = random.hidden(33);
  const Result whole = forward(npu, layer, hidden), routed = forward(npu, layer, hidden, true);
  EXPECT_EQ(routed.experts, whole.experts);
  EXPECT_EQ(routed.load, whole.load);
}

}  // namespace
}  // namespace moe::test
