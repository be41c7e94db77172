// The machine that benchmarks run on, and what they compare themselves with.
#pragma once
#include <chrono>
#include <cstdint>
#include <vector>

#include "cpu/device.h"
#include "cpu/machine_peak.h"

namespace moe::bench {

// Measured once, in the same run.
const cpu::MachinePeak& peak();
cpu::CpuDevice& backend();

std::vector<float> random_values(int64_t count, float scale);

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
double median_of(std::vector<double> times);

}  // namespace moe::bench
