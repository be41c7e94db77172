#include "cpu/layer.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>

#include "core/error.h"
#include "core/weights/read_weights.h"

namespace moe::cpu {
namespace {

// `width` and `hidden` are the columns of the products: I and H, or the parts of them that are held here.
WeightFormat format_of(const LayerSpec& spec) { return {spec.weight_type, spec.weight_group, spec.int8_activations}; }

PackedExperts allocate_experts(const Kernels& kernels, const LayerSpec& spec, int64_t experts, int64_t whole_width,
                               int64_t width, int64_t hidden) {
  const auto matrices = [&](bool gated, int64_t columns, int64_t depth) {
    return PackedMatrices(kernels, format_of(spec), gated, experts, columns, depth);
  };
  return {matrices(is_gated(spec.activation), width, spec.hidden_size), matrices(false, hidden, whole_width)};
}

const PackedPart* find(const PackedWeights& packed, const std::string& name) {
  const auto found =
      std::find_if(packed.parts.begin(), packed.parts.end(), [&](const PackedPart& part) { return part.name == name; });
  return found == packed.parts.end() ? nullptr : &*found;
}

const PackedPart& get(const PackedWeights& packed, const std::string& name) {
  if (const PackedPart* const part = find(packed, name)) return *part;
  throw Error(ErrorCode::kCheckpoint, "Expected packed weights with the part `" + name + "`, got none of that name");
}

PackedExperts packed_experts(const Kernels& kernels, const LayerSpec& spec, int64_t experts, int64_t width,
                             const PackedWeights& packed, const std::string& prefix) {
  const auto matrices = [&](const char* name, bool gated, int64_t columns, int64_t depth) {
    return PackedMatrices(kernels, format_of(spec), gated, experts, columns, depth, get(packed, prefix + name));
  };
  return {matrices("up", is_gated(spec.activation), width, spec.hidden_size),
          matrices("down", false, spec.hidden_size, width)};
}

PackedMatrices packed_router(const Kernels& kernels, int64_t columns, int64_t depth, const PackedPart& part) {
  return {kernels, WeightFormat{}, false, 1, columns, depth, part};
}

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

void pack_experts(PackedExperts& packed, const ExpertWeights* experts, ThreadPool::Team& team, ExpertProgress& progress,
                  const std::stop_token& stop) {
  const int64_t up_panels = packed.up.num_panels(), panels = up_panels + packed.down.num_panels();
  const int64_t count = packed.up.matrices();
  const auto panels_left = std::make_unique<std::atomic<int64_t>[]>(count);
  for (int64_t expert = 0; expert < count; ++expert) panels_left[expert].store(panels, std::memory_order_relaxed);

  team.parallel_for(count * panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "Loading the weights was aborted");
      const int64_t expert = index / panels, panel = index % panels;
      const ExpertWeights& from = experts[expert];
      if (panel < up_panels)
        packed.up.pack_panel(expert, panel, from.gate, from.up);
      else
        packed.down.pack_panel(expert, panel - up_panels, {}, from.down);
      if (panel == 0) {
        packed.up.pack_bias(expert, from.gate_bias, from.up_bias);
        packed.down.pack_bias(expert, {}, from.down_bias);
      }
      if (panels_left[expert].fetch_sub(1, std::memory_order_acq_rel) == 1) progress.finish_expert();
    }
  });
}

PackedMatrices pack_router(const Kernels& kernels, const WeightMatrix& weights, const WeightVector& bias) {
  PackedMatrices packed(kernels, WeightFormat{}, false, 1, weights.out_features, weights.in_features);
  for (int64_t panel = 0; panel < packed.num_panels(); ++panel) packed.pack_panel(0, panel, {}, weights);
  packed.pack_bias(0, {}, bias);
  return packed;
}

}  // namespace

CpuLayer::CpuLayer(const Kernels& kernels, const LayerSpec& layer_spec, const LayerWeights& host,
                   ThreadPool::Team& team, Progress progress, const std::stop_token& stop)
    : spec(layer_spec),
      experts(allocate_experts(kernels, spec, spec.held_experts(), spec.intermediate_size, spec.held_intermediate(),
                               spec.held_hidden())) {
  if (host.shared) shared = allocate_experts(kernels, spec, 1, spec.shared_size, spec.shared_size, spec.hidden_size);
  ExpertProgress counted(spec.held_experts() + (host.shared ? 1 : 0), progress);
  pack_experts(experts, host.experts.data(), team, counted, stop);
  if (shared) pack_experts(*shared, &*host.shared, team, counted, stop);
  if (host.shared_router) shared_router = pack_router(kernels, host.shared_router, {});
  if (spec.moe.expert_num == 1) return;
  router = pack_router(kernels, host.router, host.router_bias);
  correction_bias = read_vector(host.correction_bias);
  choose.emplace(spec.moe, correction_bias);
}

CpuLayer::CpuLayer(const Kernels& kernels, const LayerSpec& layer_spec, const PackedWeights& packed)
    : spec(layer_spec),
      memory(packed.memory),
      experts(packed_experts(kernels, spec, spec.moe.expert_num, spec.intermediate_size, packed, "")) {
  experts.up.hold(packed.experts);
  experts.down.hold(packed.experts);
  if (spec.shared_size > 0) shared = packed_experts(kernels, spec, 1, spec.shared_size, packed, "shared.");
  if (const PackedPart* const part = find(packed, "shared_router"))
    shared_router = packed_router(kernels, 1, spec.hidden_size, *part);
  if (spec.moe.expert_num == 1) return;
  router = packed_router(kernels, spec.moe.expert_num, spec.hidden_size, get(packed, "router"));
  if (const PackedPart* const part = find(packed, "correction_bias")) {
    const size_t expected = spec.moe.expert_num * sizeof(float);
    if (part->bytes != expected)
      throw Error(ErrorCode::kCheckpoint, "Expected the packed part `correction_bias` to have " +
                                              std::to_string(expected) + " bytes, got " + std::to_string(part->bytes));
    correction_bias.resize(spec.moe.expert_num);
    std::memcpy(correction_bias.data(), part->data, expected);
  }
  choose.emplace(spec.moe, correction_bias);
}

size_t CpuLayer::weight_bytes() const {
  size_t bytes = experts.up.bytes() + experts.down.bytes();
  if (shared) bytes += shared->up.bytes() + shared->down.bytes();
  if (router) bytes += router->bytes();
  if (shared_router) bytes += shared_router->bytes();
  return bytes;
}

std::vector<PackedPart> CpuLayer::packed_parts() const {
  if (!experts.up.is_whole()) return {};
  std::vector<PackedPart> parts{experts.up.part("up"), experts.down.part("down")};
  if (shared) parts.insert(parts.end(), {shared->up.part("shared.up"), shared->down.part("shared.down")});
  if (shared_router) parts.push_back(shared_router->part("shared_router"));
  if (router) parts.push_back(router->part("router"));
  if (!correction_bias.empty())
    parts.push_back({"correction_bias", correction_bias.data(), correction_bias.size() * sizeof(float)});
  return parts;
}

}  // namespace moe::cpu
