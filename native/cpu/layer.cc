#include "cpu/layer.h"

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "core/error.h"
#include "core/weights/packed_weights.h"
#include "core/weights/read_weights.h"

namespace moe::cpu {
namespace {

// How a matrix of every expert is held.
std::vector<HeldAs> held_by(const LayerSpec& spec, std::span<const ExpertWeights> experts,
                            WeightMatrix ExpertWeights::*member) {
  std::vector<const WeightMatrix*> matrices;
  for (const ExpertWeights& expert : experts) matrices.push_back(&(expert.*member));
  return held_as(asked_by(spec), matrices);
}

PackedMatrices packed_float(const Kernels& kernels, int64_t columns, int64_t depth, const PackedPart& part) {
  return {kernels, HeldAs{}, false, 1, columns, depth, part};
}

// The part of a gate that is held in another way than up.
std::string gate_part(bool is_shared) { return is_shared ? "shared.gate" : "gate"; }

// Reports each expert once all its panels are packed, from whichever thread packed the last one.
class ExpertProgress {
 public:
  ExpertProgress(int64_t total, Progress progress) : total_(total), progress_(progress) {}

  void finish_expert() {
    const std::lock_guard lock(mutex_);
    progress_(++done_, total_);
  }

 private:
  const int64_t total_;
  const Progress progress_;
  std::mutex mutex_;
  int64_t done_ = 0;
};

PackedMatrices pack_float(const Kernels& kernels, const WeightMatrix& weights, const WeightVector& bias) {
  PackedMatrices packed(kernels, std::array{HeldAs{}}, false, weights.out_features, weights.in_features);
  for (int64_t panel = 0; panel < packed.num_panels(); ++panel) packed.pack_panel(0, panel, {}, weights);
  packed.pack_bias(0, {}, bias);
  return packed;
}

}  // namespace

struct CpuExperts::Held {
  Held(const LayerSpec& spec, std::span<const ExpertWeights> experts)
      : up(held_by(spec, experts, &ExpertWeights::up)),
        gate(held_by(spec, experts, &ExpertWeights::gate)),
        down(held_by(spec, experts, &ExpertWeights::down)),
        // A panel of both has one form.
        is_apart(is_gated(spec.activation) && up != gate) {}

  std::vector<HeldAs> up, gate, down;
  bool is_apart;
};

CpuExperts::CpuExperts(const Kernels& kernels, const LayerSpec& spec, const Held& held, bool is_shared)
    : activation(spec.activation),
      threads(spec.threads),
      up(kernels, held.up, is_gated(activation) && !held.is_apart, spec.held_intermediate(), spec.hidden_size),
      down(kernels, held.down, false, spec.held_hidden(), spec.intermediate_size),
      is_shared_(is_shared) {
  if (held.is_apart) gate_projection.emplace(kernels, held.gate, false, spec.held_intermediate(), spec.hidden_size);
}

CpuExperts::CpuExperts(const Kernels& kernels, const LayerSpec& spec, std::span<const ExpertWeights> host,
                       const WeightMatrix& gate_weights, bool is_shared, ThreadPool::Team& team, Progress progress,
                       const std::stop_token& stop)
    : CpuExperts(kernels, spec, Held(spec, host), is_shared) {
  pack(host, team, progress, stop);
  if (gate_weights) gate = pack_float(kernels, gate_weights, {});
}

CpuExperts::CpuExperts(const Kernels& kernels, const LayerSpec& spec, const PackedWeights& packed, bool is_shared)
    : activation(spec.activation),
      threads(spec.threads),
      memory(packed.memory),
      up(kernels, asked_by(spec), is_gated(activation) && !find_part(packed, gate_part(is_shared)),
         is_shared ? 1 : spec.moe.expert_num, spec.intermediate_size, spec.hidden_size,
         get_part(packed, is_shared ? "shared.up" : "up")),
      down(kernels, asked_by(spec), false, is_shared ? 1 : spec.moe.expert_num, spec.hidden_size,
           spec.intermediate_size, get_part(packed, is_shared ? "shared.down" : "down")),
      is_shared_(is_shared) {
  if (const PackedPart* const part = find_part(packed, gate_part(is_shared)))
    gate_projection.emplace(kernels, asked_by(spec), false, up.matrices(), spec.intermediate_size, spec.hidden_size,
                            *part);
  if (!is_shared) {
    up.hold(packed.experts);
    down.hold(packed.experts);
    if (gate_projection) gate_projection->hold(packed.experts);
  } else if (const PackedPart* const part = find_part(packed, "shared_router")) {
    gate = packed_float(kernels, 1, spec.hidden_size, *part);
  }
}

void CpuExperts::pack(std::span<const ExpertWeights> experts, ThreadPool::Team& team, Progress progress,
                      const std::stop_token& stop) {
  const auto count = static_cast<int64_t>(experts.size());
  const int64_t up_panels = up.num_panels(), gate_panels = gate_projection ? gate_projection->num_panels() : 0;
  const int64_t panels = up_panels + gate_panels + down.num_panels();
  ExpertProgress counted(count, progress);
  const auto panels_left = std::make_unique<std::atomic<int64_t>[]>(count);
  for (int64_t expert = 0; expert < count; ++expert) panels_left[expert].store(panels, std::memory_order_relaxed);

  team.parallel_for(count * panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "Loading the weights was aborted");
      const int64_t expert = index / panels, panel = index % panels;
      const ExpertWeights& from = experts[expert];
      if (panel < up_panels)
        up.pack_panel(expert, panel, from.gate, from.up);
      else if (panel < up_panels + gate_panels)
        gate_projection->pack_panel(expert, panel - up_panels, {}, from.gate);
      else
        down.pack_panel(expert, panel - up_panels - gate_panels, {}, from.down);
      if (panel == 0) {
        up.pack_bias(expert, from.gate_bias, from.up_bias);
        if (gate_projection) gate_projection->pack_bias(expert, {}, from.gate_bias);
        down.pack_bias(expert, {}, from.down_bias);
      }
      if (panels_left[expert].fetch_sub(1, std::memory_order_acq_rel) == 1) counted.finish_expert();
    }
  });
}

size_t CpuExperts::weight_bytes() const {
  return up.bytes() + down.bytes() + (gate_projection ? gate_projection->bytes() : 0) + (gate ? gate->bytes() : 0);
}

std::vector<PackedPart> CpuExperts::packed_parts() const {
  if (!up.is_whole()) return {};
  const std::string prefix = is_shared_ ? "shared." : "";
  std::vector<PackedPart> parts{up.part(prefix + "up"), down.part(prefix + "down")};
  if (gate_projection) parts.push_back(gate_projection->part(gate_part(is_shared_)));
  if (gate) parts.push_back(gate->part("shared_router"));
  return parts;
}

CpuLinear::CpuLinear(const Kernels& kernels, const LinearSpec& spec, const WeightMatrix& host, ThreadPool::Team& team)
    : name(spec.name),
      threads(spec.threads),
      matrix(kernels, held_as(asked_by(spec), std::array{&host}), false, spec.out_features, spec.in_features) {
  team.parallel_for(matrix.num_panels(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) matrix.pack_panel(0, panel, {}, host);
  });
}

CpuLinear::CpuLinear(const Kernels& kernels, const LinearSpec& spec, const PackedWeights& packed)
    : name(spec.name),
      threads(spec.threads),
      memory(packed.memory),
      matrix(kernels, asked_by(spec), false, 1, spec.out_features, spec.in_features, get_part(packed, spec.name)) {}

CpuRouter::CpuRouter(const Kernels& kernels, const LayerSpec& spec, const LayerWeights& host)
    : moe(spec.moe), threads(spec.threads) {
  if (moe.router_rows() == 1) return;
  if (host.packed) {
    memory = host.packed->memory;
    matrix = packed_float(kernels, moe.router_rows(), spec.hidden_size, get_part(*host.packed, "router"));
    correction_bias = read_vector(values_in(*host.packed, "correction_bias", moe.router_rows()));
    expert_scale = read_vector(values_in(*host.packed, "expert_scale", moe.expert_num));
  } else {
    matrix = pack_float(kernels, host.router, host.router_bias);
    correction_bias = read_vector(host.correction_bias);
    expert_scale = read_vector(host.expert_scale);
  }
  choose.emplace(moe, correction_bias, expert_scale);
}

std::vector<PackedPart> CpuRouter::packed_parts() const {
  std::vector<PackedPart> parts;
  if (matrix) parts.push_back(matrix->part("router"));
  const auto add = [&](const char* name, const std::vector<float>& values) {
    if (!values.empty()) parts.push_back({name, values.data(), values.size() * sizeof(float)});
  };
  add("correction_bias", correction_bias);
  add("expert_scale", expert_scale);
  return parts;
}

}  // namespace moe::cpu
