#include "ascend/layer.h"

#include <algorithm>
#include <numeric>

#include "ascend/host_executor.h"
#include "ascend/pinned_pool.h"
#include "core/error.h"
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
  Packer(Npu& device, int threads, const Experts& largest, int64_t total, Progress progress,
         const std::stop_token& stop)
      : device_(device),
        executor_(threads),
        pool_(device),
        total_(total),
        progress_(progress),
        stop_(stop),
        bytes_(bytes_of(largest)),
        buffers_{pool_.take_as<std::byte>(bytes_), pool_.take_as<std::byte>(bytes_)} {}

  void pack(Experts& experts, std::span<const ExpertWeights> host) {
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

  static size_t bytes_of(const Experts& experts) {
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

ExpertTypes types_for(const LayerSpec& spec, const LayerWeights& host, const SocProfile& profile) {
  const bool biased = has_up_bias(host.experts) || has_down_bias(host.experts);
  if (spec.int8_activations && biased)
    throw Error(ErrorCode::kConfig,
                "Expected experts without biases: `activationType` is 'int8', and products of "
                "int8 rows add none");
  if (spec.intermediate_part > 0 || spec.hidden_part > 0)
    throw Error(ErrorCode::kConfig, "Expected `modelParallel` to be 1: an Ascend device holds whole experts only");
  return ExpertTypes::of(spec, profile);
}

std::span<const ExpertWeights> shared_of(const LayerWeights& host) {
  return host.shared ? std::span(&*host.shared, 1) : std::span<const ExpertWeights>();
}

}  // namespace

Experts::Experts(Npu& device, const ExpertTypes& types, const LayerSpec& spec, int64_t width,
                 std::span<const ExpertWeights> host)
    : up(device, types, static_cast<int64_t>(host.size()), spec.hidden_size, width, is_gated(spec.activation),
         has_up_bias(host)),
      down(device, types, static_cast<int64_t>(host.size()), width, spec.hidden_size, false, has_down_bias(host)) {}

AscendLayer::AscendLayer(Npu& device, const LayerSpec& layer_spec, const LayerWeights& host, Progress progress,
                         const std::stop_token& stop)
    : spec(layer_spec),
      types(types_for(spec, host, device.profile())),
      experts(device, types, spec, spec.intermediate_size, host.experts),
      correction_bias(read_vector(host.correction_bias)),
      device_correction_bias(device),
      padded_hidden(experts.up.in()),
      widening(device),
      narrowing(device) {
  if (host.shared) shared.emplace(device, types, spec, spec.shared_size, shared_of(host));
  if (host.shared_router) shared_router.emplace(device, host.shared_router, WeightVector{});
  gating.method = GatingMethod::kOnlyExpert;
  if (spec.moe.expert_num > 1) {
    router.emplace(device, host.router, host.router_bias);
    gating = choose_gating(spec, *router, correction_bias, device.profile(), device.cann().operators);
    choose.emplace(spec.moe, correction_bias);
  }
  place_small_weights(device);

  const bool shared_is_larger = shared && Packer::bytes_of(*shared) > Packer::bytes_of(experts);
  Packer packer(device, spec.threads, shared_is_larger ? *shared : experts,
                static_cast<int64_t>(host.experts.size()) + (shared ? 1 : 0), progress, stop);
  packer.pack(experts, host.experts);
  if (shared) packer.pack(*shared, shared_of(host));
  device.wait();
}

void AscendLayer::place_small_weights(Npu& device) {
  PinnedPool pool(device);
  for (std::optional<RouterWeights>* const weights : {&router, &shared_router})
    if (*weights && device.profile().float32_products)
      (*weights)->place(device, static_cast<float*>(pool.take((*weights)->bytes())));
  if (gating.method == GatingMethod::kScores && !correction_bias.empty()) {
    const size_t bytes = correction_bias.size() * sizeof(float);
    auto* const pinned = static_cast<float*>(pool.take(bytes));
    std::copy(correction_bias.begin(), correction_bias.end(), pinned);
    device.copy_to_device(device_correction_bias.reserve(bytes), pinned, bytes);
  }
  if (padded_hidden != spec.hidden_size) {
    // Columns beyond H may hold anything finite, for the weights they meet are 0: here, column 0 again.
    const size_t bytes = padded_hidden * sizeof(int64_t);
    auto* const numbers = static_cast<int64_t*>(pool.take(bytes));
    std::iota(numbers, numbers + spec.hidden_size, 0);
    std::fill(numbers + spec.hidden_size, numbers + padded_hidden, 0);
    device.copy_to_device(widening.reserve(bytes), numbers, bytes);
    device.copy_to_device(narrowing.reserve(bytes), numbers, spec.hidden_size * sizeof(int64_t));
  }
  device.wait();
}

size_t AscendLayer::weight_bytes() const {
  size_t bytes = experts.up.bytes() + experts.down.bytes();
  if (shared) bytes += shared->up.bytes() + shared->down.bytes();
  if (router) bytes += router->bytes();
  if (shared_router) bytes += shared_router->bytes();
  return bytes;
}

std::vector<std::string> AscendLayer::notes() const {
  if (gating.method != GatingMethod::kHost) return {};
  return {"Tokens are routed on the host, which waits for the device once per call: " + gating.why + "."};
}

}  // namespace moe::ascend
