#include "ascend/layer.h"

#include <algorithm>
#include <numeric>

#include "ascend/transfer.h"
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
void pack_experts(Npu& npu, AscendExperts& experts, std::span<const ExpertWeights> host, Progress progress,
                  const std::stop_token& stop) {
  HostExecutor executor(experts.spec.threads);
  PinnedPool pool(npu);
  const size_t bytes =
      experts.up.matrix_bytes() + experts.up.vector_bytes() + experts.down.matrix_bytes() + experts.down.vector_bytes();
  std::byte* const buffers[] = {pool.take_as<std::byte>(bytes), pool.take_as<std::byte>(bytes)};
  const auto count = static_cast<int64_t>(host.size());
  for (int64_t index = 0; index < count; ++index) {
    if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "Loading the weights was aborted");
    const ExpertWeights& from = host[index];
    std::byte* at = buffers[index % 2];
    const auto pack = [&](Projections& to, const Projections::Expert& expert) {
      std::byte* const vectors = at + to.matrix_bytes();
      to.pack(expert, executor, at, vectors);
      to.place(index, at, vectors);
      at = vectors + to.vector_bytes();
    };
    pack(experts.up, {from.gate ? &from.gate : nullptr, &from.up, &from.gate_bias, &from.up_bias});
    pack(experts.down, {nullptr, &from.down, nullptr, &from.down_bias});
    if (index % 2 == 1) npu.wait();  // both buffers are free again
    progress(index + 1, count);
  }
  npu.wait();
}

ExpertTypes types_for(const LayerSpec& spec, std::span<const ExpertWeights> host, const SocProfile& profile) {
  if (spec.row_type == RowType::kInt8 && (has_up_bias(host) || has_down_bias(host)))
    throw Error(ErrorCode::kConfig,
                "Expected experts without biases: `activationType` is 'int8', and products of "
                "int8 rows add none");
  return ExpertTypes::of(spec.weight_type, spec.row_type == RowType::kInt8, profile);
}

// Copies the router to the device where products of float32 are to be had there.
void place(RouterWeights& weights, Npu& npu, PinnedPool& pool) {
  if (npu.profile().float32_products) weights.place(pool);
}

}  // namespace

PaddedColumns::PaddedColumns(Npu& npu, int64_t columns, int64_t padded)
    : columns(columns), padded(padded), widening(npu), narrowing(npu) {
  if (padded == columns) return;
  // Columns behind the row may hold anything finite, for the weights they meet are 0: here, column 0 again.
  PinnedPool pool(npu);
  std::vector<int64_t> numbers(padded, 0);
  std::iota(numbers.begin(), numbers.begin() + columns, 0);
  pool.send<int64_t>(numbers, widening);
  pool.send<int64_t>(std::span(numbers).first(columns), narrowing);
  npu.wait();
}

AscendExperts::AscendExperts(Npu& npu, const LayerSpec& layer_spec, std::span<const ExpertWeights> host,
                             const WeightMatrix& gate_weights, Progress progress, const std::stop_token& stop)
    : spec(layer_spec),
      types(types_for(spec, host, npu.profile())),
      up(npu, types, static_cast<int64_t>(host.size()), spec.hidden_size, spec.intermediate_size,
         is_gated(spec.activation), has_up_bias(host)),
      down(npu, types, static_cast<int64_t>(host.size()), spec.intermediate_size, spec.hidden_size, false,
           has_down_bias(host)),
      hidden(npu, spec.hidden_size, up.in()) {
  if (gate_weights) {
    gate.emplace(npu, gate_weights, WeightVector{});
    PinnedPool pool(npu);
    place(*gate, npu, pool);
    npu.wait();
  }
  pack_experts(npu, *this, host, progress, stop);
}

AscendLinear::AscendLinear(Npu& npu, const LinearSpec& spec, const WeightMatrix& host)
    : types(ExpertTypes::of(spec.weight_type, spec.row_type == RowType::kInt8, npu.profile())),
      product(npu, types, 1, spec.in_features, spec.out_features, false, false),
      in(npu, spec.in_features, product.in()),
      out(npu, spec.out_features, product.columns()) {
  PinnedPool pool(npu);
  HostExecutor executor(spec.threads);
  auto* const matrix = pool.take_as<std::byte>(product.matrix_bytes() + product.vector_bytes());
  std::byte* const vectors = matrix + product.matrix_bytes();
  product.pack({nullptr, &host, nullptr, nullptr}, executor, matrix, vectors);
  product.place(0, matrix, vectors);
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
  if (gating.method == GatingMethod::kScores) pool.send<float>(correction_bias, device_correction_bias);
  npu.wait();
}

std::vector<std::string> AscendRouter::notes() const {
  if (gating.method != GatingMethod::kHost) return {};
  return {"Tokens are routed on the host, which waits for the device once per call: " + gating.why + "."};
}

}  // namespace moe::ascend
