// Running whole layers on a CUDA device, or on the stand-in for one, next to the CPU.
#pragma once
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/layer/layer.h"
#include "cpu/device.h"
#include "cpu/kernels.h"
#include "cpu/random_layer.h"
#include "cuda/device.h"
#include "cuda/info.h"
#include "layer_reference.h"

namespace moe::test {

// How far a result may be from the float64 reference on the weights as they are held, as vectors. Rows are rounded to
// 16 bits twice (not with float32 weights), and so are weights that are dequantised.
inline double tolerance_of(WeightType type) {
  switch (type) {
    case WeightType::kFloat32:
      return 5e-6;
    case WeightType::kFloat16:
      return 1e-3;
    default:
      return 8e-3;
  }
}

struct LayerResult {
  std::vector<float> output;
  std::vector<int32_t> experts;
  std::vector<float> weights;
  std::vector<uint32_t> load;
  RoutingTotals totals{-7, -7, -7, -7};
};

inline LayerResult run_layer(const Layer& layer, Workspace& workspace, const std::vector<float>& hidden) {
  const LayerSpec& spec = layer.spec();
  const auto tokens = static_cast<int64_t>(hidden.size()) / spec.hidden_size;
  const int64_t slots = tokens * spec.moe.num_experts_chosen;
  LayerResult result{std::vector<float>(hidden.size(), -7.0f),
                     std::vector<int32_t>(slots, -7),
                     std::vector<float>(slots, -7.0f),
                     std::vector<uint32_t>(spec.moe.expert_num, 7),
                     {}};
  layer.forward(
      workspace, {hidden.data(), DType::kFloat32, tokens},
      {result.output.data(), result.experts.data(), result.weights.data(), result.load.data(), &result.totals}, {});
  return result;
}

// A layer on a device, with a workspace of its own.
class LayerOn {
 public:
  LayerOn(Device& backend, const RandomLayer& layer)
      : layer_(backend, layer.spec, layer.host, [](int64_t, int64_t) {}, {}), workspace_(backend) {}

  LayerResult run(const std::vector<float>& hidden) { return run_layer(layer_, workspace_, hidden); }
  const Layer& layer() const { return layer_; }

 private:
  Layer layer_;
  Workspace workspace_;
};

// Skips, and says why, where there is no device.
class OnDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = cuda::why_unavailable(); !reason.empty())
      GTEST_SKIP() << "no CUDA device: " << reason;
    cuda_ = std::make_unique<cuda::CudaDevice>(0);
  }

  // Routes as the CPU does, bit for bit, and computes what the reference does.
  void expect_reference(const RandomLayer& layer, const std::vector<float>& hidden) {
    const LayerResult result = LayerOn(*cuda_, layer).run(hidden), host = LayerOn(cpu_, layer).run(hidden);
    EXPECT_EQ(result.experts, host.experts);
    EXPECT_EQ(result.weights, host.weights);
    EXPECT_EQ(result.load, host.load);
    EXPECT_EQ(result.totals.dropped_choices, host.totals.dropped_choices);
    EXPECT_EQ(result.totals.capacity, host.totals.capacity);
    const double error = relative_error(result.output, layer_output(layer, hidden, host.experts, host.weights));
    EXPECT_FALSE(!(error <= tolerance_of(layer.spec.weight_type))) << "relative error " << error;
  }
  void expect_reference(const LayerOptions& options, int64_t tokens) {
    SCOPED_TRACE("T " + std::to_string(tokens) + " H " + std::to_string(options.hidden) + " I " +
                 std::to_string(options.intermediate) + " E " + std::to_string(options.experts) + " K " +
                 std::to_string(options.top_k) + " weights " + std::to_string(static_cast<int>(options.held.type)) +
                 " group " + std::to_string(options.held.group) + " activation " + name_of(options.activation));
    RandomLayer layer(options);
    expect_reference(layer, layer.hidden(tokens));
  }

  Device& cuda() { return *cuda_; }
  Device& cpu() { return cpu_; }

 private:
  std::unique_ptr<cuda::CudaDevice> cuda_;
  cpu::CpuDevice cpu_{cpu::choose_kernels(), 2};
};

}  // namespace moe::test
