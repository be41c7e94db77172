#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "cpu/run_stages.h"

namespace moe::test {
namespace {

// On the weights as they are held: only the order and the precision of sums differ from the reference.
constexpr double kTolerance = 1e-5;

class Experts : public EachInstructionSet {
 protected:
  void expect_reference(const LayerOptions& options, int64_t tokens) { expect_reference(options, std::array{tokens}); }
  // One layer with batches of several sizes.
  void expect_reference(const LayerOptions& options, std::span<const int64_t> batches) {
    RandomLayer layer(options);
    const std::unique_ptr<PreparedExperts> prepared = prepare(backend_, layer);
    for (const int64_t tokens : batches)
      expect_reference(layer, *prepared, round_robin(tokens, options.top_k, options.experts));
  }
  void expect_reference(const LayerOptions& options, const Choices& choices) {
    RandomLayer layer(options);
    expect_reference(layer, *prepare(backend_, layer), choices);
  }
  void expect_reference(RandomLayer& layer, const PreparedExperts& prepared, const Choices& choices) {
    const std::vector<float> hidden = layer.hidden(choices.tokens());
    const std::vector<float> output = run_experts(backend_, prepared, layer.spec, hidden, choices);
    const double error = relative_error(output, expected_output(layer, hidden, choices));
    EXPECT_FALSE(!(error <= kTolerance)) << "relative error " << error << ", T " << choices.tokens() << " H "
                                         << layer.spec.hidden_size << " I " << layer.spec.intermediate_size;
  }

  cpu::CpuDevice backend_{kernels(), 2};
};
INSTANTIATE_TEST_SUITE_P(Cpu, Experts, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

TEST_P(Experts, MatchTheReferenceOnSizesThatAreMultiplesOfNothing) {
  for (const int32_t hidden : {1, 3, 17, 33, 130})
    for (const int32_t intermediate : {1, 5, 16, 31, 257})
      expect_reference({.hidden = hidden, .intermediate = intermediate, .biases = true}, 9);
}

TEST_P(Experts, MatchTheReferenceForEveryNumberOfTokens) {
  for (int64_t tokens = 0; tokens <= 70; ++tokens) expect_reference({.hidden = 40, .intermediate = 24}, tokens);
}

TEST_P(Experts, MatchTheReferenceForEveryNumberOfPanelsSideBySide) {
  for (const Held held : {Held{WeightType::kFloat32}, {WeightType::kBFloat16}, {WeightType::kFloat16}})
    for (const int32_t width : {30, 64, 95, 128, 159, 190})
      expect_reference({.hidden = width, .intermediate = 600 - width, .held = held, .biases = true},
                       std::array<int64_t, 3>{9, 25, 200});
}

TEST_P(Experts, MatchTheReferenceWhenOneExpertTakesMoreRowsThanATaskHolds) {
  for (const int64_t tokens : {97, 193, 1000}) {
    Choices choices = round_robin(tokens, 1, 1);
    for (int32_t& expert : choices.experts) expert = 2;
    expect_reference({.hidden = 300, .intermediate = 40, .top_k = 1}, choices);
  }
}

TEST_P(Experts, MatchTheReferenceWhenATokenTakesEveryExpert) {
  expect_reference({.hidden = 20, .intermediate = 36, .experts = 7, .top_k = 7}, 13);
}

TEST_P(Experts, MatchTheReferenceWithFarMoreExpertsThanRows) {
  expect_reference({.hidden = 18, .intermediate = 20, .experts = 300, .top_k = 2}, 3);
}

TEST_P(Experts, MatchTheReferenceWithEveryActivationTypeAndLayout) {
  for (const Activation& activation : kEveryActivation)
    for (const Held held : kEveryHeld)
      for (const DType stored : {DType::kFloat32, DType::kBFloat16, DType::kFloat16})
        for (const Layout layout : {Layout::kRows, Layout::kTransposed, Layout::kStrided})
          expect_reference({.hidden = 70,
                            .intermediate = 37,
                            .activation = activation,
                            .stored = stored,
                            .held = held,
                            .layout = layout,
                            .biases = true},
                           std::array<int64_t, 3>{1, 2, 40});
}

TEST_P(Experts, StayWithinAHundredthOfTheUnroundedWeightsInSixteenBits) {
  for (const Held held : {Held{WeightType::kBFloat16}, Held{WeightType::kFloat16}}) {
    RandomLayer exact({.hidden = 200, .intermediate = 120}),
        rounded({.hidden = 200, .intermediate = 120, .held = held});
    const std::vector<float> hidden = exact.hidden(20);
    const Choices choices = round_robin(20, 2, 4);
    const std::vector<float> output = run_experts(backend_, *prepare(backend_, rounded), rounded.spec, hidden, choices);
    const double error = relative_error(output, expected_output(exact, hidden, choices));
    EXPECT_FALSE(!(error <= 1e-2)) << error;
    EXPECT_GT(error, 1e-6) << "the weights were not rounded";
  }
}

// Of uniform weights; docs/weight-types.md has the figures of others.
TEST_P(Experts, StayNearTheUnroundedWeightsInIntegers) {
  for (const auto& [held, most] : {std::pair{Held{WeightType::kInt8, 32}, 0.01},
                                   {{WeightType::kInt8, 0}, 0.015},
                                   {{WeightType::kInt4, 32}, 0.15},
                                   {{WeightType::kInt4, 64}, 0.16}}) {
    RandomLayer exact({.hidden = 200, .intermediate = 120}),
        rounded({.hidden = 200, .intermediate = 120, .held = held});
    const std::vector<float> hidden = exact.hidden(20);
    const Choices choices = round_robin(20, 2, 4);
    const std::vector<float> output = run_experts(backend_, *prepare(backend_, rounded), rounded.spec, hidden, choices);
    const double error = relative_error(output, expected_output(exact, hidden, choices));
    EXPECT_FALSE(!(error <= most)) << error;
    EXPECT_GT(error, most / 10) << "the weights were not rounded";
  }
}

TEST_P(Experts, MatchTheReferenceInIntegersOfEveryDepthAndNumberOfRows) {
  for (const Held held : {Held{WeightType::kInt8, 32}, Held{WeightType::kInt4, 32}, Held{WeightType::kInt4, 64}})
    for (const int32_t width : {1, 2, 3, 31, 33, 66, 95, 257, 300})
      expect_reference({.hidden = width, .intermediate = width + 1, .held = held, .biases = true},
                       std::array<int64_t, 4>{1, 3, 11, 60});
}

TEST_P(Experts, SkipDroppedChoices) {
  Choices choices = round_robin(12, 3, 4);
  for (size_t slot = 0; slot < choices.experts.size(); slot += 4) choices.experts[slot] = -1, choices.weights[slot] = 0;
  expect_reference({.hidden = 24, .intermediate = 20, .top_k = 3}, choices);
}

TEST_P(Experts, GiveNaNToATokenWithoutARoutableExpertAndToNoOther) {
  RandomLayer layer({.hidden = 35, .intermediate = 20});
  Choices choices = round_robin(5, 2, 4);
  choices.experts[4] = choices.experts[5] = -1;
  choices.weights[4] = choices.weights[5] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> output =
      run_experts(backend_, *prepare(backend_, layer), layer.spec, layer.hidden(5), choices);
  for (int64_t i = 0; i < 5 * 35; ++i) EXPECT_EQ(std::isnan(output[i]), i / 35 == 2) << "element " << i;
}

TEST_P(Experts, KeepNaNAndInfinityInTheirToken) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()})
    for (const Activation& activation : kEveryActivation) {
      RandomLayer layer({.hidden = 50, .intermediate = 30, .activation = activation});
      const std::unique_ptr<PreparedExperts> prepared = prepare(backend_, layer);
      const Choices choices = round_robin(30, 2, 4);
      std::vector<float> hidden = layer.hidden(30);
      const std::vector<float> clean = run_experts(backend_, *prepared, layer.spec, hidden, choices);
      hidden[11 * 50 + 7] = bad;
      const std::vector<float> output = run_experts(backend_, *prepared, layer.spec, hidden, choices);
      bool noticed = false;
      for (int64_t i = 0; i < 30 * 50; ++i) {
        if (i / 50 == 11) {
          noticed |= !std::isfinite(output[i]) || output[i] != clean[i];
        } else {
          EXPECT_EQ(output[i], clean[i]) << "element " << i;
        }
        if (std::isnan(bad)) {
          EXPECT_EQ(std::isnan(output[i]), i / 50 == 11) << "element " << i;
        }
      }
      EXPECT_TRUE(noticed);
    }
}

TEST_P(Experts, AddTheSharedRowsAfterTheChoices) {
  RandomLayer layer({.hidden = 19, .intermediate = 8});
  const std::unique_ptr<PreparedExperts> prepared = prepare(backend_, layer);
  const std::vector<float> hidden = layer.hidden(6), shared = layer.hidden(6);
  const Choices choices = round_robin(6, 2, 4);
  const std::vector<float> without = run_experts(backend_, *prepared, layer.spec, hidden, choices);
  const std::vector<float> with = run_experts(backend_, *prepared, layer.spec, hidden, choices, shared);
  for (size_t i = 0; i < with.size(); ++i) EXPECT_EQ(with[i], without[i] + shared[i]);
}

}  // namespace
}  // namespace moe::test
