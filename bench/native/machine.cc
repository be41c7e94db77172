#include "machine.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <string>

#include "core/host/usable_cpus.h"
#include "cpu/kernels.h"

namespace moe::bench {

const cpu::MachinePeak& peak() {
  static const cpu::MachinePeak measured = cpu::measure_machine_peak(0, 0.5);
  return measured;
}

cpu::CpuDevice& backend() {
  static cpu::CpuDevice cpu(cpu::choose_kernels(), usable_cpus());
  return cpu;
}

std::vector<float> random_values(int64_t count, float scale) {
  std::minstd_rand random(1);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(random);
  return values;
}

double median_of(std::vector<double> times) {
  const auto middle = times.begin() + static_cast<int64_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

}  // namespace moe::bench

int main(int argc, char** argv) {
  using moe::bench::peak;
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("kernels", moe::cpu::describe_choice());
  benchmark::AddCustomContext("threads", std::to_string(peak().threads));
  benchmark::AddCustomContext("peak GF/s", std::to_string(peak().gflops));
  benchmark::AddCustomContext("peak GB/s", std::to_string(peak().gigabytes_per_second));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
