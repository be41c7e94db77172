// What the machine can do at best, for comparison: multiply-adds that never leave the registers, and plain reading.
#pragma once

constexpr int kBurnChains = 12;  // latency times issue width of the cores we know, and fits 16 registers
constexpr double kBurnFlops = 2.0 * kBurnChains * kLanes;

inline float sum_lanes(Vec value) {
  float lane[kLanes], sum = 0;
  store(lane, value);
  for (const float each : lane) sum += each;
  return sum;
}

inline void burn(int64_t steps, float* seed) {
  Vec acc[kBurnChains];
#pragma GCC unroll 16
  for (int i = 0; i < kBurnChains; ++i) acc[i] = broadcast(static_cast<float>(i));
  const Vec a = broadcast(seed[0]), b = broadcast(seed[1]);
  for (int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 16
    for (int i = 0; i < kBurnChains; ++i) acc[i] = fma(acc[i], a, b);
  }
  Vec sum = zero();
#pragma GCC unroll 16
  for (int i = 0; i < kBurnChains; ++i) sum = sum + acc[i];
  seed[1] = sum_lanes(sum);
}

inline float read(const float* data, int64_t count) {
  constexpr int kStep = 256;
  constexpr int kChains = 8;
  Vec acc[kChains];
#pragma GCC unroll 8
  for (int i = 0; i < kChains; ++i) acc[i] = zero();
  for (int64_t at = 0; at < count; at += kStep) {
    __builtin_prefetch(data + at + 4 * kStep);
#pragma GCC unroll 64
    for (int v = 0; v < kStep / kLanes; ++v) acc[v % kChains] = acc[v % kChains] + load(data + at + v * kLanes);
  }
  Vec sum = zero();
#pragma GCC unroll 8
  for (int i = 0; i < kChains; ++i) sum = sum + acc[i];
  return sum_lanes(sum);
}
