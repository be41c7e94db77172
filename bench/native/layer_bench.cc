// A call with next to no work, in C++: what a call through TypeScript is compared with (scripts/performance.mjs).
#include <benchmark/benchmark.h>

#include <vector>

#include "core/host/usable_cpus.h"
#include "core/layer/layer.h"
#include "cpu/device.h"
#include "cpu/kernels.h"

namespace {

// H 64, I 64, E 4, K 1, one token.
void small_forward(benchmark::State& state) {
  constexpr int32_t kWidth = 64, kExperts = 4;
  moe::cpu::CpuDevice backend(moe::cpu::choose_kernels(), moe::usable_cpus());
  const std::vector<float> values(kWidth * kWidth, 0.01f);
  const moe::WeightMatrix square{values.data(), moe::DType::kFloat32, kWidth, kWidth, kWidth, 1};
  moe::LayerSpec spec;
  spec.moe.expert_num = kExperts;
  spec.hidden_size = spec.intermediate_size = kWidth;
  moe::LayerWeights weights;
  weights.router = {values.data(), moe::DType::kFloat32, kExperts, kWidth, kWidth, 1};
  weights.experts.assign(
      kExperts, {.gate = square, .up = square, .down = square, .gate_bias = {}, .up_bias = {}, .down_bias = {}});
  const moe::Layer layer(backend, spec, weights, [](int64_t, int64_t) {}, {});
  moe::Workspace workspace(backend);
  const std::vector<float> hidden(kWidth, 0.5f);
  std::vector<float> output(kWidth);
  moe::ForwardOutput out;
  out.output = output.data();
  for (auto _ : state) layer.forward(workspace, {hidden.data(), moe::DType::kFloat32, 1}, out, {});
}
BENCHMARK(small_forward)->Repetitions(9)->ReportAggregatesOnly();

}  // namespace
