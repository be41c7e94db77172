// Runs a layer on the backend and on the CPU, and compares.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "ascend/device.h"
#include "ascend/soc.h"
#include "core/layer/layer.h"
#include "cpu/device.h"
#include "cpu/random_layer.h"

namespace moe::test {

struct Result {
  std::vector<float> output, weights;
  std::vector<int32_t> experts;
  std::vector<uint32_t> load;
  RoutingTotals totals{};
};

inline Result forward(Device& backend, const Layer& layer, const std::vector<float>& hidden, bool route_only = false) {
  const LayerSpec& spec = layer.spec();
  const int64_t tokens = static_cast<int64_t>(hidden.size()) / spec.hidden_size;
  const int64_t slots = tokens * spec.moe.num_experts_chosen;
  Workspace workspace(backend);
  Result result;
  result.output.resize(hidden.size());
  result.weights.resize(slots);
  result.experts.resize(slots);
  result.load.resize(spec.moe.expert_num);
  float nothing = 0;  // null would mean that no output is asked for
  float* const output = result.output.empty() ? &nothing : result.output.data();
  layer.forward(
      workspace, {hidden.data(), DType::kFloat32, tokens},
      {route_only ? nullptr : output, result.experts.data(), result.weights.data(), result.load.data(), &result.totals},
      {});
  return result;
}

inline Layer make_layer(Device& backend, const RandomLayer& random) {
  return {backend, random.spec, random.host, [](int64_t, int64_t) {}, {}};
}

inline const ascend::SocProfile& profile() { return ascend::profile_of(ascend::cann_library().runtime.soc_name()); }

// What the chip holds most exactly.
inline Held best_held() { return {profile().bfloat16 ? WeightType::kFloat32 : WeightType::kFloat16}; }

// Of a vector's length. Activations are of the weights' type, those of int8 weights bfloat16.
inline double tolerance(WeightType type) {
  switch (type) {
    case WeightType::kFloat32:
      return 3e-6;
    case WeightType::kFloat16:
      return 2e-3;
    default:
      return 1.5e-2;
  }
}

// Same choices, same counts, outputs within the type's precision, NaN in the same places. A value counts as `least` at
// least: where a layer is so small that its few terms may cancel out, what is left says nothing of their roundings.
inline void expect_same(const Result& actual, const Result& expected, WeightType type, double least = 0) {
  EXPECT_EQ(actual.experts, expected.experts);
  EXPECT_EQ(actual.load, expected.load);
  EXPECT_EQ(actual.totals.capacity, expected.totals.capacity);
  EXPECT_EQ(actual.totals.dropped_choices, expected.totals.dropped_choices);
  EXPECT_NEAR(actual.totals.aux_loss, expected.totals.aux_loss, 1e-5);
  EXPECT_NEAR(actual.totals.z_loss, expected.totals.z_loss, 1e-5);
  for (size_t i = 0; i < expected.weights.size(); ++i) {
    if (std::isnan(expected.weights[i]))
      EXPECT_TRUE(std::isnan(actual.weights[i])) << i;
    else
      EXPECT_NEAR(actual.weights[i], expected.weights[i], 4e-6 * std::max(1.0f, expected.weights[i])) << i;
  }
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.output.size(); ++i) {
    ASSERT_EQ(std::isnan(actual.output[i]), std::isnan(expected.output[i])) << i;
    if (std::isnan(expected.output[i])) continue;
    difference += std::pow(static_cast<double>(actual.output[i]) - expected.output[i], 2);
    norm += std::pow(std::max(std::abs(static_cast<double>(expected.output[i])), least), 2);
  }
  EXPECT_TRUE(std::sqrt(difference) <= tolerance(type) * std::sqrt(norm)) << std::sqrt(difference / norm);
}

inline void expect_as_on_cpu(const RandomLayer& random, const std::vector<float>& hidden) {
  const std::unique_ptr<Device> cpu = cpu::plugin().open(0);
  ascend::AscendDevice npu(0);
  const Result expected = forward(*cpu, make_layer(*cpu, random), hidden);
  expect_same(forward(npu, make_layer(npu, random), hidden), expected, random.spec.weight_type);
}

}  // namespace moe::test
