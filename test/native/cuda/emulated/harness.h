// One layer on the CUDA backend over the emulated device, and on the CPU.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "core/layer/layer.h"
#include "cpu/device.h"
#include "cpu/random_layer.h"
#include "cuda/device.h"
#include "cuda/runtime/device.h"

namespace moe::test {

struct LayerResult {
  std::vector<float> output, weights;
  std::vector<int32_t> experts;
  std::vector<uint32_t> load;
  RoutingTotals totals{};
};

inline LayerResult forward(const Layer& layer, Workspace& workspace, const LayerSpec& spec,
                           const std::vector<float>& hidden) {
  const int64_t tokens = static_cast<int64_t>(hidden.size()) / spec.hidden_size;
  LayerResult result;
  result.output.resize(hidden.size());
  result.experts.resize(tokens * spec.moe.num_experts_chosen);
  result.weights.resize(tokens * spec.moe.num_experts_chosen);
  result.load.resize(spec.moe.expert_num);
  layer.forward(
      workspace, {hidden.data(), DType::kFloat32, tokens},
      {result.output.data(), result.experts.data(), result.weights.data(), result.load.data(), &result.totals}, {});
  return result;
}

inline LayerResult forward_on(Device& backend, const RandomLayer& random, const std::vector<float>& hidden) {
  const Layer layer(backend, random.spec, random.host, [](int64_t, int64_t) {}, {});
  Workspace workspace(backend);
  return forward(layer, workspace, random.spec, hidden);
}

inline LayerResult forward_on_cpu(const RandomLayer& random, const std::vector<float>& hidden) {
  const std::unique_ptr<Device> backend = cpu::plugin().open(0);
  return forward_on(*backend, random, hidden);
}

inline LayerResult forward_on_cuda(const RandomLayer& random, const std::vector<float>& hidden) {
  cuda::CudaDevice backend(0);
  return forward_on(backend, random, hidden);
}

// The largest difference as a share of the largest value; NaN where one is NaN and the other is not.
inline double difference(const std::vector<float>& actual, const std::vector<float>& expected) {
  double worst = 0, largest = 1e-6;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(actual[i])) continue;
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (!(error <= worst)) worst = error;
    if (std::isnan(worst)) return worst;
    largest = std::max<double>(largest, std::abs(expected[i]));
  }
  return worst / largest;
}

// Every test ends with nothing to report: no fault, no misuse of the runtime, no leak.
class OnEmulator : public testing::Test {
 protected:
  void SetUp() override { device().reset(); }
  void TearDown() override {
    for (const std::string& line : device().report()) ADD_FAILURE() << line;
    device().reset();
  }
  static emulator::Device& device() { return emulator::Device::instance(); }
};

// What the activations' 16 bits cost: a rounding of the input and one of the intermediate values.
constexpr double kTolerance = 0.02;

}  // namespace moe::test
