// Attention of one new token to a long context, and of prompts to themselves, against what the machine can do.
//
// of_bytes is the share of the measured read bandwidth, counting the cache's bytes once; of_flops the share of the
// measured multiply-add rate, counting products that a token needs. times_least is the time over the longer of both.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "machine.h"

namespace {

using moe::AttentionSpec;
using moe::KvType;
using moe::bench::backend;
using moe::bench::peak;

struct Heads {
  int32_t heads, kv_heads, key_size, value_size;
  bool latent = false;
};
constexpr Heads kQwen3{32, 4, 128, 128}, kOlmoe{16, 16, 128, 128};
constexpr Heads kLatent16{16, 1, 576, 512, true}, kLatent128{128, 1, 576, 512, true};

// Caches of as many layers as make reading one of them read memory.
constexpr size_t kLeastBytes = size_t{384} << 20;

AttentionSpec spec_of(const Heads& heads, KvType type) {
  return {.heads = heads.heads,
          .kv_heads = heads.kv_heads,
          .key_size = heads.key_size,
          .value_size = heads.value_size,
          .values_in_keys = heads.latent,
          .scale = 1 / std::sqrt(static_cast<float>(heads.key_size)),
          .type = type};
}

// Rows of `tokens` tokens behind `before` others.
void attend(benchmark::State& state, const Heads& heads, KvType type, int64_t before, int64_t tokens) {
  moe::DecoderStages& stages = *backend().decoder();
  const AttentionSpec spec = spec_of(heads, type);
  const int64_t context = before + tokens, blocks = (context - 1) / moe::kKvBlock + 1;
  std::vector<int32_t> table(blocks);
  std::iota(table.begin(), table.end(), 0);
  std::shuffle(table.begin(), table.end(), std::minstd_rand(3));

  const int64_t key_width = int64_t{heads.kv_heads} * heads.key_size;
  const int64_t value_width = heads.latent ? 0 : int64_t{heads.kv_heads} * heads.value_size;
  std::vector<float> keys = moe::bench::random_values(context * key_width, 1);
  std::vector<float> values = moe::bench::random_values(context * value_width, 1);
  const moe::Segment whole{0, context, 0, table.data()};
  std::vector<std::unique_ptr<moe::KvCache>> caches;
  for (size_t bytes = 0; before > 0 ? bytes < kLeastBytes : bytes == 0; bytes += caches.back()->bytes()) {
    caches.push_back(stages.make_cache(spec, blocks));
    stages.append(*caches.back(), spec, moe::float_matrix(keys.data(), context, key_width),
                  moe::float_matrix(values.data(), context, value_width), {&whole, 1});
  }

  const int64_t query_width = int64_t{heads.heads} * heads.key_size;
  const int64_t out_width = int64_t{heads.heads} * heads.value_size;
  std::vector<float> queries = moe::bench::random_values(tokens * query_width, 1), out(tokens * out_width);
  const moe::Segment segment{0, tokens, before, table.data()};
  std::vector<double> times;
  size_t layer = 0;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    stages.attend(*caches[layer], spec, moe::float_matrix(queries.data(), tokens, query_width), {&segment, 1},
                  moe::float_matrix(out.data(), tokens, out_width), {});
    times.push_back(moe::bench::seconds_since(start));
    benchmark::DoNotOptimize(out.data());
    layer = (layer + 1) % caches.size();
  }

  const double median = moe::bench::median_of(times);
  const double bytes = static_cast<double>(caches.front()->bytes());
  const double pairs = static_cast<double>(tokens) * (static_cast<double>(before) + (tokens + 1) / 2.0);
  const double flops = 2 * pairs * heads.heads * (heads.key_size + heads.value_size);
  const double reading = bytes / 1e9 / peak().gigabytes_per_second, adding = flops / 1e9 / peak().gflops;
  state.counters["ms"] = median * 1e3;
  state.counters["of_bytes"] = reading / median;
  state.counters["of_flops"] = adding / median;
  state.counters["times_least"] = median / std::max(reading, adding);
}

void decode(benchmark::State& state, const Heads& heads, KvType type) {
  attend(state, heads, type, state.range(0) - 1, 1);
}
void prompt(benchmark::State& state, const Heads& heads, KvType type) { attend(state, heads, type, 0, state.range(0)); }
void settings(benchmark::internal::Benchmark* bench) {
  bench->UseRealTime()->Unit(benchmark::kMillisecond)->MinTime(0.3);
}

#define MOE_ATTEND(heads, type)                                                                     \
  BENCHMARK_CAPTURE(decode, heads##_##type, k##heads, KvType::k##type)->Arg(8192)->Apply(settings); \
  BENCHMARK_CAPTURE(prompt, heads##_##type, k##heads, KvType::k##type)->Arg(512)->Arg(2048)->Apply(settings)
#define MOE_ATTEND_EACH_TYPE(heads) \
  MOE_ATTEND(heads, Float32);       \
  MOE_ATTEND(heads, BFloat16);      \
  MOE_ATTEND(heads, Int8)

MOE_ATTEND_EACH_TYPE(Qwen3);
MOE_ATTEND_EACH_TYPE(Olmoe);
MOE_ATTEND_EACH_TYPE(Latent16);
MOE_ATTEND_EACH_TYPE(Latent128);

}  // namespace
