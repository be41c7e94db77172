#include "cpu/stages.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/routing/plan.h"
#include "cpu/info.h"
#include "cpu/kernels.h"
#include "core/host/usable_cpus.h"

namespace moe::cpu {
namespace {

// Pieces of row-wise work are at least this many floats: a few microseconds.
constexpr int64_t kGrainFloats = 32768;

static_assert(static_cast<int>(Epilogue::kSwiGLU) == static_cast<int>(Activation::kSwiGLU) + 1);
static_assert(static_cast<int>(Epilogue::kSwiGLUOai) == static_cast<int>(Activation::kSwiGLUOai) + 1);
static_assert(static_cast<int>(Epilogue::kGeGLU) == static_cast<int>(Activation::kGeGLU) + 1);
static_assert(static_cast<int>(Epilogue::kGELU) == static_cast<int>(Activation::kGELU) + 1);
static_assert(static_cast<int>(Epilogue::kGELUTanh) == static_cast<int>(Activation::kGELUTanh) + 1);
static_assert(static_cast<int>(Epilogue::kReLU) == static_cast<int>(Activation::kReLU) + 1);
static_assert(static_cast<int>(Epilogue::kSiLU) == static_cast<int>(Activation::kSiLU) + 1);

int64_t grain_for(int64_t floats_per_item) {
  return std::max<int64_t>(1, kGrainFloats / std::max<int64_t>(1, floats_per_item));
}

const CpuLayer& as_cpu(const PreparedLayer& layer) { return static_cast<const CpuLayer&>(layer); }

bool all_finite(const float* values, int64_t count) {
  constexpr int32_t kMagnitude = 0x7fffffff, kInfinity = 0x7f800000;
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::bit_cast<int32_t>(values[i]) & kMagnitude);
  return largest < kInfinity;
}

// The only expert takes every token whose values are finite, with weight 1.
void route_to_only_expert(Matrix hidden, ThreadPool::Team& team, const Routing& out) {
  team.parallel_for(hidden.rows, grain_for(hidden.cols), [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const bool finite = all_finite(hidden.data + token * hidden.cols, hidden.cols);
      out.experts[token] = finite ? 0 : -1;
      out.weights[token] = finite ? 1.0f : std::numeric_limits<float>::quiet_NaN();
    }
  });
  *out.expert_load = static_cast<uint32_t>(std::count(out.experts, out.experts + hidden.rows, 0));
  *out.totals = {.aux_loss = 0, .z_loss = 0, .dropped_choices = 0, .capacity = -1};
}

std::string why_unavailable() {
  try {
    choose_kernels();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

std::vector<DeviceInfo> devices() { return {device_info()}; }

std::unique_ptr<Device> open(int index) {
  if (index != 0)
    throw Error(ErrorCode::kDeviceUnavailable,
                "Expected the index of a cpu device to be 0, got " + std::to_string(index));
  return std::make_unique<CpuDevice>(choose_kernels(), usable_cpus());
}

}  // namespace

CpuDevice::CpuDevice(const Kernels& kernels, int threads) : kernels_(kernels), pool_(threads), gemm_(kernels) {}

void* CpuDevice::allocate(size_t bytes) { return allocate_aligned(bytes); }

void CpuDevice::deallocate(void* memory) noexcept { std::free(memory); }

void CpuDevice::upload(void* device, const void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void CpuDevice::download(void* host, const void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

// The number at its begin is to be raised whenever a panel changes.
std::string CpuDevice::packed_layout(const LayerSpec& spec) const {
  return "1: panels of " + std::to_string(kernels_.panel_columns) + " columns, " + std::to_string(kernels_.lanes) +
         " lanes" + (spec.int8_activations ? ", for integer products" : "");
}

std::unique_ptr<PreparedLayer> CpuDevice::prepare(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                   const std::stop_token& stop) {
  if (host.packed) return std::make_unique<CpuLayer>(kernels_, spec, *host.packed);
  ThreadPool::Team team = pool_.team();
  return std::make_unique<CpuLayer>(kernels_, spec, host, team, progress, stop);
}

void CpuDevice::route(const PreparedLayer& layer, Matrix hidden, const Routing& out) {
  const CpuLayer& cpu = as_cpu(layer);
  ThreadPool::Team team = team_of(cpu);
  if (!cpu.router) return route_to_only_expert(hidden, team, out);
  const size_t values = hidden.rows * cpu.router->columns();
  float* const logits = logits_.reserve_as<float>(values);
  gemm_.multiply(*cpu.router, gather_all(hidden, team, {}), Epilogue::kNone, logits, team, {});
  cpu.choose->route({logits, values}, hidden.rows, team, out);
}

void CpuDevice::plan(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) {
  plan_on_host(experts, num_experts, out);
}

void CpuDevice::run_experts(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out,
                             const std::stop_token& stop) {
  const CpuLayer& cpu = as_cpu(layer);
  ThreadPool::Team team = team_of(cpu);
  gemm_.set_rows({plan.expert_offsets, plan.slot_of_row, plan.fan_out}, cpu.experts.up.matrices());
  run(cpu.experts, cpu.spec.activation, gather(hidden.data, hidden.cols, team, stop), out.data, team, stop);
}

void CpuDevice::run_shared(const PreparedLayer& layer, Matrix hidden, Matrix out, const std::stop_token& stop) {
  const CpuLayer& cpu = as_cpu(layer);
  ThreadPool::Team team = team_of(cpu);
  const float* const tiles = gather_all(hidden, team, stop);
  run(*cpu.shared, cpu.spec.activation, tiles, out.data, team, stop);
  if (!cpu.shared_router) return;

  float* const logits = logits_.reserve_as<float>(hidden.rows);
  gemm_.multiply(*cpu.shared_router, tiles, Epilogue::kNone, logits, team, stop);
  team.parallel_for(hidden.rows, grain_for(hidden.cols), [&](int64_t begin, int64_t end) {
    kernels_.scale_by_sigmoid(out.data + begin * out.cols, logits + begin, end - begin, out.cols);
  });
}

void CpuDevice::combine(const PreparedLayer& layer, Matrix rows, const Routing& routing, const DispatchPlan& plan,
                         Matrix shared, Matrix out) {
  const int64_t fan_out = plan.fan_out;
  ThreadPool::Team team = team_of(as_cpu(layer));
  team.parallel_for(out.rows, grain_for(out.cols * fan_out), [&](int64_t begin, int64_t end) {
    kernels_.combine({.rows = rows.data,
                      .row_of_slot = plan.row_of_slot + begin * fan_out,
                      .weights = routing.weights + begin * fan_out,
                      .shared = shared.data ? shared.data + begin * shared.cols : nullptr,
                      .output = out.data + begin * out.cols,
                      .tokens = end - begin,
                      .columns = out.cols,
                      .fan_out = plan.fan_out});
  });
}

ThreadPool::Team CpuDevice::team_of(const CpuLayer& layer) { return pool_.team(layer.spec.threads); }

const float* CpuDevice::gather(const float* hidden, int64_t depth, ThreadPool::Team& team,
                                const std::stop_token& stop) {
  float* const tiles = tiles_.reserve_as<float>(gemm_.num_rows() * depth);
  gemm_.gather(hidden, depth, tiles, team, stop);
  return tiles;
}

const float* CpuDevice::gather_all(Matrix hidden, ThreadPool::Team& team, const std::stop_token& stop) {
  all_tokens_[1] = static_cast<int32_t>(hidden.rows);
  gemm_.set_rows({.offsets = all_tokens_, .slot_of_row = nullptr, .fan_out = 1}, 1);
  return gather(hidden.data, hidden.cols, team, stop);
}

void CpuDevice::run(const PackedExperts& experts, Activation activation, const float* tiles, float* out,
                     ThreadPool::Team& team, const std::stop_token& stop) {
  float* const intermediate = intermediate_.reserve_as<float>(gemm_.num_rows() * experts.up.columns());
  gemm_.multiply(experts.up, tiles, epilogue_of(activation), intermediate, team, stop);
  gemm_.multiply(experts.down, intermediate, Epilogue::kNone, out, team, stop);
}

const Plugin& plugin() {
  static const Plugin cpu{
      .build_id = kBuildId, .name = "cpu", .why_unavailable = why_unavailable, .devices = devices, .open = open};
  return cpu;
}

}  // namespace moe::cpu
