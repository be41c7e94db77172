// The stages of a layer whose experts are spread over ranks.
#include <algorithm>

#include "cpu/stages.h"

namespace moe::cpu {
namespace {

constexpr int64_t kGrainFloats = 32768;  // a few microseconds

int64_t grain_for(int64_t floats_per_row) {
  return std::max<int64_t>(1, kGrainFloats / std::max<int64_t>(1, floats_per_row));
}

}  // namespace

void CpuDevice::gather(Matrix in, const int32_t* index, Matrix out) {
  pool_.team().parallel_for(out.rows, grain_for(out.cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      if (index[row] >= 0) std::copy_n(in.data + index[row] * in.cols, in.cols, out.data + row * out.cols);
  });
}

void CpuDevice::place_columns(Matrix part, int64_t first_column, Matrix out) {
  pool_.team().parallel_for(part.rows, grain_for(part.cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      std::copy_n(part.data + row * part.cols, part.cols, out.data + row * out.cols + first_column);
  });
}

void CpuDevice::run_up(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix intermediate,
                        const std::stop_token& stop) {
  const CpuLayer& cpu = static_cast<const CpuLayer&>(layer);
  ThreadPool::Team team = team_of(cpu);
  gemm_.set_rows({plan.expert_offsets, plan.slot_of_row, plan.fan_out}, cpu.experts.up.matrices());
  const float* const tiles = gather(hidden.data, hidden.cols, team, stop);
  float* const in_tiles = intermediate_.reserve_as<float>(gemm_.num_rows() * intermediate.cols);
  gemm_.multiply(cpu.experts.up, tiles, epilogue_of(cpu.spec.activation), in_tiles, team, stop);
  gemm_.scatter(in_tiles, intermediate.cols, intermediate.data, team);
}

void CpuDevice::run_down(const PreparedLayer& layer, Matrix intermediate, const DispatchPlan& plan, Matrix out,
                          const std::stop_token& stop) {
  const CpuLayer& cpu = static_cast<const CpuLayer&>(layer);
  ThreadPool::Team team = team_of(cpu);
  gemm_.set_rows({.offsets = plan.expert_offsets, .slot_of_row = nullptr, .fan_out = 1}, cpu.experts.down.matrices());
  const float* const tiles = gather(intermediate.data, intermediate.cols, team, stop);
  gemm_.multiply(cpu.experts.down, tiles, Epilogue::kNone, out.data, team, stop);
}

}  // namespace moe::cpu
