#include "cpu/stages.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "cpu/grain.h"

namespace moe::cpu {
namespace {

class CpuPlan final : public Plan {
 public:
  explicit CpuPlan(Pool<SortedSlots>::Taken taken) : sorted(std::move(taken)) {}
  Pool<SortedSlots>::Taken sorted;
};

const SortedSlots& sorted_by(const Plan& plan) { return *static_cast<const CpuPlan&>(plan).sorted; }
const CpuExperts& as_cpu(const PreparedExperts& experts) { return static_cast<const CpuExperts&>(experts); }

bool all_finite(const float* values, int64_t count) {
  constexpr int32_t kMagnitude = 0x7fffffff, kInfinity = 0x7f800000;
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::bit_cast<int32_t>(values[i]) & kMagnitude);
  return largest < kInfinity;
}

// The only expert takes every token whose values are finite, with weight 1.
void route_to_only_expert(Matrix hidden, ThreadPool::Team& team, const RoutingArrays& out) {
  team.parallel_for(hidden.rows, grain_for(hidden.cols), [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const bool finite = all_finite(hidden.floats() + token * hidden.cols, hidden.cols);
      out.experts[token] = finite ? 0 : -1;
      out.weights[token] = finite ? 1.0f : std::numeric_limits<float>::quiet_NaN();
    }
  });
  *out.expert_load = static_cast<uint32_t>(std::count(out.experts, out.experts + hidden.rows, 0));
  *out.totals = {.aux_loss = 0, .z_loss = 0, .dropped_choices = 0, .capacity = -1};
}

}  // namespace

Epilogue epilogue_of(const Activation& activation) {
  switch (activation.kind) {
    case Activation::kSwiGLU:
    case Activation::kSwiGLUOai: {
      if (activation.is_plain_swiglu()) return {Epilogue::kSwiGLU};
      const SwiGLUNumbers by = activation.swiglu_numbers();
      return {Epilogue::kClampedSwiGLU, by.alpha,   by.lowest_gate, by.most_gate,
              by.most_product,          by.most_up, by.up_shift};
    }
    case Activation::kGeGLU:
      return {Epilogue::kGeGLU};
    case Activation::kGeGLUTanh:
      return {Epilogue::kGeGLUTanh};
    case Activation::kGELU:
      return {Epilogue::kGELU};
    case Activation::kGELUTanh:
      return {Epilogue::kGELUTanh};
    case Activation::kReLU:
      return {Epilogue::kReLU};
    case Activation::kReLU2:
      return {Epilogue::kReLU2};
    case Activation::kSiLU:
      return {Epilogue::kSiLU};
  }
  throw Error(ErrorCode::kInternal, "Expected a known activation");
}

// The number at its begin is to be raised whenever a panel changes.
std::string CpuStages::packed_layout(const LayerSpec& spec) const {
  return "3: panels of " + std::to_string(kernels_.panel_columns) + " columns, " + std::to_string(kernels_.lanes) +
         " lanes" + (spec.row_type == RowType::kInt8 ? ", for integer products" : "");
}

std::unique_ptr<PreparedRouter> CpuStages::prepare_router(const LayerSpec& spec, const LayerWeights& host) {
  return std::make_unique<CpuRouter>(kernels_, spec, host);
}

std::unique_ptr<PreparedExperts> CpuStages::prepare_experts(const LayerSpec& spec, const LayerWeights& host,
                                                            Progress progress, const std::stop_token& stop) {
  if (host.packed) return std::make_unique<CpuExperts>(kernels_, spec, *host.packed, false);
  ThreadPool::Team team = pool_.team();
  return std::make_unique<CpuExperts>(kernels_, spec, host.experts, WeightMatrix{}, false, team, progress, stop);
}

std::unique_ptr<PreparedExperts> CpuStages::prepare_shared(const LayerSpec& spec, const LayerWeights& host,
                                                           Progress progress, const std::stop_token& stop) {
  const LayerSpec shared = spec.of_shared();
  if (host.packed) return std::make_unique<CpuExperts>(kernels_, shared, *host.packed, true);
  ThreadPool::Team team = pool_.team();
  return std::make_unique<CpuExperts>(kernels_, shared, std::span(&*host.shared, 1), host.shared_router, true, team,
                                      progress, stop);
}

std::unique_ptr<Routing> CpuStages::route(const PreparedRouter& prepared, const Tokens& tokens,
                                          const RoutingArrays& out) {
  const CpuRouter& router = static_cast<const CpuRouter&>(prepared);
  const Matrix& hidden = tokens.hidden;
  ThreadPool::Team team = pool_.team(router.threads);
  if (router.matrix) {
    const size_t values = hidden.rows * router.matrix->columns();
    float* const logits = logits_.reserve<float>(values);
    gemm_.multiply(*router.matrix, gather_all(hidden, team, {}), {}, logits, team, {});
    router.choose->route({logits, values}, hidden.rows, team, out, tokens.chosen);
  } else {
    route_to_only_expert(hidden, team, out);
  }
  return std::make_unique<Routing>(out, hidden.rows, router.moe);
}

std::unique_ptr<PreparedLinear> CpuStages::prepare_linear(const LinearSpec& spec, const WeightMatrix& matrix,
                                                          const std::optional<PackedWeights>& packed) {
  if (packed) return std::make_unique<CpuLinear>(kernels_, spec, *packed);
  ThreadPool::Team team = pool_.team(spec.threads);
  return std::make_unique<CpuLinear>(kernels_, spec, matrix, team);
}

void CpuStages::linear(const PreparedLinear& prepared, Matrix in, Matrix added, Matrix out,
                       const std::stop_token& stop) {
  const auto& linear = static_cast<const CpuLinear&>(prepared);
  ThreadPool::Team team = pool_.team(linear.threads);
  gemm_.multiply(linear.matrix, gather_all(in, team, stop), {}, out.floats(), team, stop);
  if (!added.data) return;
  team.parallel_for(out.rows, grain_for(out.cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * out.cols; i < end * out.cols; ++i) out.floats()[i] += added.floats()[i];
  });
}

void CpuStages::linears(std::span<const LinearTo> linears, Matrix in, const std::stop_token& stop) {
  if (linears.empty()) return;
  const auto cpu_linear = [](const LinearTo& each) -> const CpuLinear& {
    return static_cast<const CpuLinear&>(each.linear);
  };
  ThreadPool::Team team = pool_.team(cpu_linear(linears.front()).threads);
  const float* const tiles = gather_all(in, team, stop);
  products_.clear();
  for (const LinearTo& each : linears) products_.push_back({&cpu_linear(each).matrix, each.out.floats()});
  gemm_.multiply(products_, tiles, {}, team, stop);
}

std::unique_ptr<Plan> CpuStages::plan(const Routing& routing) {
  const auto slots = static_cast<size_t>(routing.tokens * routing.top_k);
  return plan({routing.arrays.experts, slots}, routing.num_experts, routing.top_k);
}

std::unique_ptr<Plan> CpuStages::plan(std::span<const int32_t> choices, int32_t num_experts, int32_t fan_out) {
  Pool<SortedSlots>::Taken sorted = plans_.take();
  sorted->sort(choices, num_experts, fan_out);
  return std::make_unique<CpuPlan>(std::move(sorted));
}

std::unique_ptr<Routing> CpuStages::weigh(const PreparedExperts& experts, const Routing& routing, Matrix hidden,
                                          Matrix rows, float* ones) {
  const RoutingArrays& arrays = routing.arrays;
  ThreadPool::Team team = pool_.team(as_cpu(experts).threads);
  team.parallel_for(rows.rows, grain_for(rows.cols), [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      const float weight = arrays.weights[slot];
      ones[slot] = std::isnan(weight) ? weight : 1.0f;
      if (arrays.experts[slot] < 0 || arrays.experts[slot] >= routing.num_experts) continue;
      const float* const from = hidden.floats() + slot / routing.top_k * hidden.cols;
      float* const to = rows.floats() + slot * rows.cols;
      for (int64_t i = 0; i < rows.cols; ++i) to[i] = weight * from[i];
    }
  });
  const RoutingArrays by_slot{arrays.experts, ones, arrays.expert_load, arrays.totals};
  return std::make_unique<Routing>(by_slot, rows.rows, 1, routing.num_experts);
}

void CpuStages::add_identities(const PreparedExperts& experts, const Routing& routing, Matrix hidden,
                               float shared_scale, Matrix always) {
  ThreadPool::Team team = pool_.team(as_cpu(experts).threads);
  team.parallel_for(always.rows, grain_for(always.cols), [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      float factor = 0.0f;
      for (int64_t slot = token * routing.top_k; slot < (token + 1) * routing.top_k; ++slot)
        if (routing.arrays.experts[slot] >= routing.num_experts) factor += routing.arrays.weights[slot];
      const float* const from = hidden.floats() + token * hidden.cols;
      float* const to = always.floats() + token * always.cols;
      for (int64_t i = 0; i < always.cols; ++i)
        to[i] = (shared_scale == 0.0f ? 0.0f : shared_scale * to[i]) + factor * from[i];
    }
  });
}

void CpuStages::run(const PreparedExperts& prepared, Matrix hidden, const Plan& plan, Matrix out,
                    const std::stop_token& stop) {
  const CpuExperts& experts = as_cpu(prepared);
  const SortedSlots& sorted = sorted_by(plan);
  ThreadPool::Team team = pool_.team(experts.threads);
  gemm_.set_rows({sorted.offsets.data(), sorted.slot_of_row.data(), sorted.fan_out}, experts.up.matrices());
  multiply_both(experts, gather(hidden, team, stop), out, team, stop);
}

void CpuStages::run_shared(const PreparedExperts& prepared, const Tokens& tokens, Matrix out,
                           const std::stop_token& stop) {
  const Matrix& hidden = tokens.hidden;
  const CpuExperts& shared = as_cpu(prepared);
  ThreadPool::Team team = pool_.team(shared.threads);
  const float* const tiles = gather_all(hidden, team, stop);
  multiply_both(shared, tiles, out, team, stop);
  if (!shared.gate) return;

  float* const logits = logits_.reserve<float>(hidden.rows);
  gemm_.multiply(*shared.gate, tiles, {}, logits, team, stop);
  team.parallel_for(hidden.rows, grain_for(hidden.cols), [&](int64_t begin, int64_t end) {
    kernels_.scale_by_sigmoid(out.floats() + begin * out.cols, logits + begin, end - begin, out.cols);
  });
}

void CpuStages::combine(const PreparedExperts& prepared, Matrix rows, const Routing& routing, const Plan& plan,
                        Matrix shared, Matrix out) {
  const SortedSlots& sorted = sorted_by(plan);
  const int64_t fan_out = sorted.fan_out;
  ThreadPool::Team team = pool_.team(as_cpu(prepared).threads);
  team.parallel_for(out.rows, grain_for(out.cols * fan_out), [&](int64_t begin, int64_t end) {
    kernels_.combine({.rows = rows.floats(),
                      .row_of_slot = sorted.row_of_slot.data() + begin * fan_out,
                      .weights = routing.arrays.weights + begin * fan_out,
                      .shared = shared.data ? shared.floats() + begin * shared.cols : nullptr,
                      .output = out.floats() + begin * out.cols,
                      .tokens = end - begin,
                      .columns = out.cols,
                      .fan_out = sorted.fan_out});
  });
}

void CpuStages::run_up(const PreparedExperts& prepared, Matrix hidden, const Plan& plan, Matrix intermediate,
                       const std::stop_token& stop) {
  const CpuExperts& experts = as_cpu(prepared);
  const SortedSlots& sorted = sorted_by(plan);
  ThreadPool::Team team = pool_.team(experts.threads);
  gemm_.set_rows({sorted.offsets.data(), sorted.slot_of_row.data(), sorted.fan_out}, experts.up.matrices());
  const float* const in_tiles = multiply_up(experts, gather(hidden, team, stop), team, stop);
  gemm_.scatter(in_tiles, intermediate.cols, intermediate.floats(), team);
}

void CpuStages::run_down(const PreparedExperts& prepared, Matrix intermediate, const Plan& plan, Matrix out,
                         const std::stop_token& stop) {
  const CpuExperts& experts = as_cpu(prepared);
  ThreadPool::Team team = pool_.team(experts.threads);
  gemm_.set_rows({.offsets = sorted_by(plan).offsets.data(), .slot_of_row = nullptr, .fan_out = 1},
                 experts.down.matrices());
  gemm_.multiply(experts.down, gather(intermediate, team, stop), {}, out.floats(), team, stop);
}

const float* CpuStages::gather(Matrix hidden, ThreadPool::Team& team, const std::stop_token& stop) {
  float* const tiles = tiles_.reserve<float>(gemm_.num_rows() * hidden.cols);
  gemm_.gather(hidden.floats(), hidden.cols, tiles, team, stop);
  return tiles;
}

const float* CpuStages::gather_all(Matrix hidden, ThreadPool::Team& team, const std::stop_token& stop) {
  all_tokens_[1] = static_cast<int32_t>(hidden.rows);
  gemm_.set_rows({.offsets = all_tokens_, .slot_of_row = nullptr, .fan_out = 1}, 1);
  return gather(hidden, team, stop);
}

float* CpuStages::multiply_up(const CpuExperts& experts, const float* tiles, ThreadPool::Team& team,
                              const std::stop_token& stop) {
  const int64_t columns = experts.up.columns(), count = gemm_.num_rows() * columns;
  float* const intermediate = intermediate_.reserve<float>(count);
  const Epilogue epilogue = epilogue_of(experts.activation);
  if (!experts.gate_projection) {
    gemm_.multiply(experts.up, tiles, epilogue, intermediate, team, stop);
    return intermediate;
  }
  float* const gate = projections_.reserve<float>(2 * count);
  float* const up = gate + count;
  gemm_.multiply(*experts.gate_projection, tiles, {}, gate, team, stop);
  gemm_.multiply(experts.up, tiles, {}, up, team, stop);
  gemm_.activate(epilogue, gate, up, columns, intermediate, team, stop);
  return intermediate;
}

void CpuStages::multiply_both(const CpuExperts& experts, const float* tiles, Matrix out, ThreadPool::Team& team,
                              const std::stop_token& stop) {
  const float* const intermediate = multiply_up(experts, tiles, team, stop);
  gemm_.multiply(experts.down, intermediate, {}, out.floats(), team, stop);
}

}  // namespace moe::cpu
