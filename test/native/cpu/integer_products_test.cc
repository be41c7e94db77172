// computeType int8: rows are quantised, products are integers.
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/run_stages.h"
#include "rounded_reference.h"

namespace moe::test {
namespace {

class IntegerProducts : public EachInstructionSet {
 protected:
  cpu::CpuDevice backend_{kernels(), 2};
};
INSTANTIATE_TEST_SUITE_P(Cpu, IntegerProducts, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

// A row as it is multiplied; one scale for all inputs is kept as one for every 128.
std::vector<double> quantized_row(std::vector<double> row, int64_t group) {
  quantize_row(row, group == 0 ? 128 : group);
  return row;
}

// The experts on quantised rows, in float64.
std::vector<double> expected(const RandomLayer& layer, const std::vector<float>& hidden, const Choices& choices) {
  const int64_t width = layer.spec.hidden_size;
  std::vector<double> output(choices.tokens() * width);
  for (size_t slot = 0; slot < choices.experts.size(); ++slot) {
    const int64_t token = static_cast<int64_t>(slot) / choices.fan_out;
    const DenseExpert& expert = layer.dense[choices.experts[slot]];
    const std::vector<double> row(hidden.begin() + token * width, hidden.begin() + (token + 1) * width);
    const std::vector<double> x = quantized_row(row, layer.spec.weight_group);
    std::vector<double> up = affine(expert.up, x, expert.up_bias);
    const std::vector<double> gate = is_gated(layer.spec.activation) ? affine(expert.gate, x, expert.gate_bias) : up;
    for (size_t i = 0; i < up.size(); ++i) up[i] = activate(layer.spec.activation, gate[i], up[i]);
    const std::vector<double> out = affine(expert.down, quantized_row(up, layer.spec.weight_group), expert.down_bias);
    for (int64_t i = 0; i < width; ++i) output[token * width + i] += choices.weights[slot] * out[i];
  }
  return output;
}

// Rounding the rows may fall to the other side where a value stands between two integers: rarely, and by one step.
TEST_P(IntegerProducts, AreThoseOfQuantizedRows) {
  for (const Held held : kEveryIntegerProduct)
    for (const int32_t width : {1, 3, 4, 7, 9, 31, 33, 66, 130, 263}) {
      RandomLayer layer({.hidden = width, .intermediate = width + 2, .held = held, .biases = true});
      const std::unique_ptr<PreparedExperts> prepared = prepare(backend_, layer);
      for (const int64_t tokens : {0, 1, 2, 5, 30, 100}) {
        const std::vector<float> hidden = layer.hidden(tokens);
        const Choices choices = round_robin(tokens, 2, 4);
        const std::vector<float> output = run_experts(backend_, *prepared, layer.spec, hidden, choices);
        const double error = relative_error(output, expected(layer, hidden, choices));
        EXPECT_FALSE(!(error <= 2e-3)) << error << ", width " << width << ", " << tokens << " tokens";
      }
    }
}

TEST_P(IntegerProducts, StayNearTheUnroundedLayer) {
  for (const auto& [held, most] : {std::pair{Held{WeightType::kInt8, 32, RowType::kInt8}, 0.015},
                                   {{WeightType::kInt4, 32, RowType::kInt8}, 0.15}}) {
    RandomLayer exact({.hidden = 200, .intermediate = 120}),
        rounded({.hidden = 200, .intermediate = 120, .held = held});
    const std::vector<float> hidden = exact.hidden(20);
    const Choices choices = round_robin(20, 2, 4);
    const std::vector<float> output = run_experts(backend_, *prepare(backend_, rounded), rounded.spec, hidden, choices);
    const double error = relative_error(output, expected_output(exact, hidden, choices));
    EXPECT_FALSE(!(error <= most)) << error;
  }
}

// Every byte of the weights and of the rows takes its extremes: nothing saturates.
TEST_P(IntegerProducts, AreExactAtTheExtremes) {
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
    constexpr int32_t kWidth = 64;
    RandomLayer random({.hidden = kWidth,
                        .intermediate = kWidth,
                        .experts = 1,
                        .top_k = 1,
                        .activation = Activation::kReLU,
                        .held = {type, 32, RowType::kInt8}});
    const float most = type == WeightType::kInt8 ? -127.0f : -8.0f;
    std::vector<float> weights(kWidth * kWidth, most), down(kWidth * kWidth);
    for (int32_t i = 0; i < kWidth; ++i) down[i * kWidth + i] = most;
    random.host.experts[0].up = {weights.data(), DType::kFloat32, kWidth, kWidth, kWidth, 1};
    random.host.experts[0].down = {down.data(), DType::kFloat32, kWidth, kWidth, kWidth, 1};
    const std::vector<float> hidden(kWidth, -127.0f);
    const std::vector<float> output =
        run_experts(backend_, *prepare(backend_, random), random.spec, hidden, round_robin(1, 1, 1));
    for (const float value : output) EXPECT_NEAR(value / (0.5f * most * most * -127.0f * kWidth * -1.0f), -1.0f, 1e-5f);
  }
}

TEST_P(IntegerProducts, KeepNaNInItsToken) {
  for (const Held held : kEveryIntegerProduct)
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      RandomLayer layer({.hidden = 50, .intermediate = 30, .held = held});
      const std::unique_ptr<PreparedExperts> prepared = prepare(backend_, layer);
      const Choices choices = round_robin(30, 2, 4);
      std::vector<float> hidden = layer.hidden(30);
      const std::vector<float> clean = run_experts(backend_, *prepared, layer.spec, hidden, choices);
      hidden[11 * 50 + 7] = bad;
      const std::vector<float> output = run_experts(backend_, *prepared, layer.spec, hidden, choices);
      for (int64_t i = 0; i < 30 * 50; ++i) {
        if (i / 50 == 11) {
          EXPECT_TRUE(std::isnan(output[i])) << "element " << i;
        } else {
          EXPECT_EQ(output[i], clean[i]) << "element " << i;
        }
      }
    }
}

}  // namespace
}  // namespace moe::test
