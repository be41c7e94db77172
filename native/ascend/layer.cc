#include "ascend/layer.h"

#include <algorithm>
#include <numeric>

#include "ascend/pinned_pool.h"
#include "core/error.h"
#include "core/host/host_executor.h"
#include "core/weights/read_weights.h"

namespace moe::ascend {
namespace {

bool has_up_bias(std::span<const ExpertWeights> experts) {
  return std::any_of(experts.begin(), experts.end(),
                     [](const ExpertWeights& expert) { return expert.gate_bias || expert.up_bias; });
}

bool has_down_bias(std::span<const ExpertWeights> experts) {
  return std::any_of(experts.begin(), experts.end(),
                     [](const ExpertWeights& expert) { return static_cast<bool>(expert.down_bias); });
}

// Packs one expert while the one before it travels.
class Packer {
 public:
  Packer(Npu& device, const AscendExperts& experts, int64_t total, Progress progress, const std::stop_token& stop)
      : device_(device),
        executor_(experts.spec.threads),
        pool_(device),
        total_(total),
        progress_(progress),
        stop_(stop),
        bytes_(bytes_of(experts)),
        buffers_{pool_.take_as<std::byte>(bytes_), pool_.take_as<std::byte>(bytes_)} {}

  void pack(AscendExperts& experts, std::span<const ExpertWeights> host) {
    for (size_t index = 0; index < host.size(); ++index) {
      if (stop_.stop_requested()) throw Error(ErrorCode::kAborted, "Loading the weights was aborted");
      const ExpertWeights& from = host[index];
      std::byte* at = buffers_[done_ % 2];
      const WeightMatrix* const gate = from.gate ? &from.gate : nullptr;
      at = pack(experts.up, index, {gate, &from.up, &from.gate_bias, &from.up_bias}, at);
      pack(experts.down, index, {nullptr, &from.down, nullptr, &from.down_bias}, at);
      if (++done_ % 2 == 0) device_.wait();  // both buffers are free again
      progress_(done_, total_);
    }
  }

  static size_t bytes_of(const AscendExperts& experts) {
    return experts.up.matrix_bytes() + experts.up.vector_bytes() + experts.down.matrix_bytes() +
           experts.down.vector_bytes();
  }

 private:
  // Returns where the next one goes.
  std::byte* pack(Projections& to, size_t index, const Projections::Expert& from, std::byte* at) {
    std::byte* const vectors = at + to.matrix_bytes();
    to.pack(from, executor_, at, vectors);
    to.place(static_cast<int64_t>(index), at, vectors);
    return vectors + to.vector_bytes();
  }

  Npu& device_;
  HostExecutor executor_;
  PinnedPool pool_;
  int64_t done_ = 0, total_;
  Progress progress_;
  const std::stop_token& stop_;
  size_t bytes_;
  std::byte* buffers_[2];
};

ExpertTypes types_for(const LayerSpec& spec, std::span<const ExpertWeights> host, const SocProfile& profile) {
  if (spec.int8_activations && (has_up_bias(host) || has_down_bias(host)))
    throw Error(ErrorCode::kConfig,
                "Expected experts without biases: `activationType` is 'int8', and products of "
                "int8 rows add none");
  return ExpertTypes::of(spec, profile);
}

// Copies the router to the device where products of float32 are to be had there.
void place(RouterWeights& weights, Npu& npu, PinnedPool& pool) {
  if (npu.profile().float32_products) weights.place(npu, static_cast<float*>(pool.take(weights.bytes())));
}

}  // namespace

AscendExperts::AscendExperts(Npu& npu, const LayerSpec& layer_spec, std::span<const ExpertWeights> host,
                             const WeightMatrix& gate_weights, Progress progress, const std::stop_token& stop)
    : spec(layer_spec),
      types(types_for(spec, host, npu.profile())),
      up(npu, types, static_cast<int64_t>(host.size()), spec.hidden_size, spec.intermediate_size,
         is_gated(spec.activation), has_up_bias(host)),
      down(npu, types, static_cast<int64_t>(host.size()), spec.intermediate_size, spec.hidden_size, false,
           has_down_bias(host)),
      padded_hidden(up.in()),
      widening(npu),
      narrowing(npu) {
  if (gate_weights) gate.emplace(npu, gate_weights, WeightVector{});
  place_small_weights(npu);
  Packer packer(npu, *this, static_cast<int64_t>(host.size()), progress, stop);
  packer.pack(*this, host);
  npu.wait();
}

void AscendExperts::place_small_weights(Npu& npu) {
  PinnedPool pool(npu);
  if (gate) place(*gate, npu, pool);
  if (padded_hidden != spec.hidden_size) {
    // Columns beyond H may hold anything finite, for the weights they meet are 0: here, column 0 again.
    const size_t bytes = padded_hidden * sizeof(int64_t);
    auto* const numbers = static_cast<int64_t*>(pool.take(bytes));
    std::iota(numbers, numbers + spec.hidden_size, 0);
    std::fill(numbers + spec.hidden_size, numbers + padded_hidden, 0);
    npu.copy_to_device(widening.reserve_bytes(bytes), numbers, bytes);
    npu.copy_to_device(narrowing.reserve_bytes(bytes), numbers, spec.hidden_size * sizeof(int64_t));
  }
  npu.wait();
}

AscendRouter::AscendRouter(Npu& npu, const LayerSpec& layer_spec, const LayerWeights& host)
    : spec(layer_spec), correction_bias(read_vector(host.correction_bias)), device_correction_bias(npu) {
  gating.method = GatingMethod::kOnlyExpert;
  if (spec.moe.router_rows() == 1) return;
  matrix.emplace(npu, host.router, host.router_bias);
  const std::vector<float> expert_scale = read_vector(host.expert_scale);
  gating = choose_gating(spec, *matrix, correction_bias, npu.profile(), npu.cann().operators);
  if (!expert_scale.empty() && gating.method != GatingMethod::kHost)
    gating = {.why = "no operator has a factor for each expert"};
  choose.emplace(spec.moe, correction_bias, expert_scale);
  PinnedPool pool(npu);
  place(*matrix, npu, pool);
  if (gating.method == GatingMethod::kScores && !correction_bias.empty()) {
    const size_t bytes = correction_bias.size() * sizeof(float);
    auto* const pinned = static_cast<float*>(pool.take(bytes));
    std::copy(correction_bias.begin(), correction_bias.end(), pinned);
    npu.copy_to_device(device_correction_bias.reserve_bytes(bytes), pinned, bytes);
  }
  npu.wait();
}

std::vector<std::string> AscendRouter::notes() const {
  if (gating.method != GatingMethod::kHost) return {};
  return {"Tokens are routed on the host, which waits for the device once per call: " + gating.why + "."};
}

}  // namespace moe::ascend
