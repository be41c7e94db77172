// The experts of one layer, against what the machine can do: cpu_bench [--benchmark_filter=...] and, by MOE_CPU_ISA, on
// another instruction set. H 2048, I 1024, E 16, K 4.
//
// of_flops is the share of the measured multiply-add rate, of_bytes the share of the measured read bandwidth, counting
// the weights of the experts that have rows, once.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "core/weight_format.h"
#include "machine.h"

namespace {

using moe::DType;
using moe::WeightType;
using moe::bench::backend;
using moe::bench::peak;
using moe::bench::random_values;

constexpr int32_t kGroup = 32;  // integers that share a scale
constexpr int32_t kHidden = 2048, kIntermediate = 1024, kExperts = 16, kTopK = 4;

double bytes_per_weight(WeightType type) {
  return static_cast<double>(moe::format_of(type).row_bytes(kGroup, kGroup)) / kGroup;
}

// All experts read the same values: only their packed copies are distinct.
const moe::PreparedExperts& layer(WeightType type) {
  static std::unique_ptr<moe::PreparedExperts> prepared;
  static WeightType held;
  if (prepared && held == type) return *prepared;
  prepared.reset();
  const std::vector<float> values = random_values(int64_t{kHidden} * kIntermediate, 0.03f);
  moe::LayerSpec spec;
  spec.moe.expert_num = kExperts;
  spec.moe.num_experts_chosen = kTopK;
  spec.hidden_size = kHidden;
  spec.intermediate_size = kIntermediate;
  spec.weight_type = type;
  spec.weight_group = moe::format_of(type).has_groups() ? kGroup : 0;
  const moe::WeightMatrix up{values.data(), DType::kFloat32, kIntermediate, kHidden, kHidden, 1};
  const moe::WeightMatrix down{values.data(), DType::kFloat32, kHidden, kIntermediate, kIntermediate, 1};
  moe::LayerWeights weights;
  weights.router = {values.data(), DType::kFloat32, kExperts, kHidden, kHidden, 1};
  weights.experts.assign(kExperts,
                         {.gate = up, .up = up, .down = down, .gate_bias = {}, .up_bias = {}, .down_bias = {}});
  prepared = backend().moe().prepare_experts(spec, weights, [](int64_t, int64_t) {}, {});
  held = type;
  return *prepared;
}

void run_experts(benchmark::State& state, WeightType type) {
  const int64_t tokens = state.range(0), slots = tokens * kTopK;
  const moe::PreparedExperts& prepared = layer(type);
  std::vector<float> hidden = random_values(tokens * kHidden, 1), rows(slots * kHidden), output(hidden.size());

  std::minstd_rand random(7);
  std::vector<int32_t> experts, shuffled(kExperts);
  for (int32_t e = 0; e < kExperts; ++e) shuffled[e] = e;
  for (int64_t token = 0; token < tokens; ++token) {
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    experts.insert(experts.end(), shuffled.begin(), shuffled.begin() + kTopK);
  }
  std::vector<float> weights(slots, 0.25f);
  const moe::Matrix in = moe::float_matrix(hidden.data(), tokens, kHidden);
  const moe::Matrix out = moe::float_matrix(output.data(), tokens, kHidden);
  const moe::Matrix row_matrix = moe::float_matrix(rows.data(), slots, kHidden);
  moe::MoEConfig config;
  config.expert_num = kExperts;
  config.num_experts_chosen = kTopK;
  const moe::Routing routing({experts.data(), weights.data(), nullptr, nullptr}, tokens, config);
  moe::MoeStages& stages = backend().moe();

  std::vector<double> times;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    const std::unique_ptr<moe::Plan> plan = stages.plan(experts, kExperts, kTopK);
    stages.run(prepared, in, *plan, row_matrix, {});
    stages.combine(prepared, row_matrix, routing, *plan, moe::float_matrix(nullptr, tokens, kHidden), out);
    benchmark::DoNotOptimize(output.data());
    times.push_back(moe::bench::seconds_since(start));
    // Other experts next time, as many: weights that were just read would come from the cache.
    for (int32_t& expert : experts) expert = (expert + kTopK) % kExperts;
  }

  const double median = moe::bench::median_of(times);
  const std::set<int32_t> chosen(experts.begin(), experts.end());
  const auto busy = static_cast<int64_t>(chosen.size());
  const double flops = 6.0 * static_cast<double>(slots) * kHidden * kIntermediate;
  const double bytes = 3.0 * static_cast<double>(busy) * kHidden * kIntermediate * bytes_per_weight(type);
  state.counters["ms"] = median * 1e3;
  state.counters["GF/s"] = flops / median / 1e9;
  state.counters["GB/s"] = bytes / median / 1e9;
  state.counters["of_flops"] = flops / median / 1e9 / peak().gflops;
  state.counters["of_bytes"] = bytes / median / 1e9 / peak().gigabytes_per_second;
}

void tokens(benchmark::internal::Benchmark* bench) {
  for (const int64_t count : {1, 8, 32, 128, 512}) bench->Arg(count);
  bench->UseRealTime()->Unit(benchmark::kMillisecond)->MinTime(0.5);
}

BENCHMARK_CAPTURE(run_experts, float32, WeightType::kFloat32)->Apply(tokens);
BENCHMARK_CAPTURE(run_experts, bfloat16, WeightType::kBFloat16)->Apply(tokens);
BENCHMARK_CAPTURE(run_experts, float16, WeightType::kFloat16)->Apply(tokens);
BENCHMARK_CAPTURE(run_experts, int8, WeightType::kInt8)->Apply(tokens);
BENCHMARK_CAPTURE(run_experts, int4, WeightType::kInt4)->Apply(tokens);

}  // namespace
