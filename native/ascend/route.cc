#include "ascend/route.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "core/host/host_executor.h"

namespace moe::ascend {
namespace {

using cann::DataType;

// A thread looks at so many values at least.
constexpr int64_t kValuesPerPiece = 1 << 18;
// Sorting alone needs no more of a token.
constexpr int64_t kFewColumns = 32;

bool is_finite(const float* values, int64_t count) {
  return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

// Whether an operator would choose as the router does: logits are finite, and no token scores all experts alike, but
// for what is added.
bool may_gate(const AscendRouter& router, const Tokens& tokens) {
  const auto [rows, cols] = std::pair{tokens.hidden.rows, tokens.hidden.cols};
  if (router.gating.method < GatingMethod::kSoftmax || rows == 0 || !tokens.on_host) return false;
  // Bits of magnitudes compare like the magnitudes; NaN is above all.
  constexpr int32_t kMagnitude = 0x7fffffff;
  std::atomic<int32_t> largest{0};
  std::atomic<bool> all_zeros{false};
  HostExecutor(router.spec.threads).parallel_for(rows, 1 + kValuesPerPiece / cols, [&](int64_t begin, int64_t end) {
    int32_t most = 0;
    for (int64_t token = begin; token < end; ++token) {
      int32_t of_token = 0;
      const float* const values = tokens.on_host + token * cols;
      for (int64_t i = 0; i < cols; ++i) of_token = std::max(of_token, std::bit_cast<int32_t>(values[i]) & kMagnitude);
      if (of_token == 0) all_zeros = true;
      most = std::max(most, of_token);
    }
    int32_t before = largest;
    while (before < most && !largest.compare_exchange_weak(before, most)) {
    }
  });
  return !all_zeros && router.gating.bounds(std::bit_cast<float>(largest.load()));
}

}  // namespace

void AscendRouting::complete() {
  if (pending_load) stage->count_load(*this);
}

RouteStage::RouteStage(Npu& npu, OperatorQueue& queue, HostLink& link, DeviceSort& sort)
    : npu_(npu), queue_(queue), link_(link), sort_(sort), logits_(npu), biased_(npu), gating_(npu) {}

std::unique_ptr<AscendRouting> RouteStage::route(const AscendRouter& router, const Tokens& tokens,
                                                 const RoutingArrays& out) {
  auto routing = std::make_unique<AscendRouting>(out, tokens.hidden.rows, router.spec.moe);
  if (!tokens.chosen && may_gate(router, tokens)) {
    gate_on_device(router, tokens.hidden, *routing);
    return routing;
  }
  host_experts_.resize(routing->tokens * routing->top_k);
  if (tokens.chosen && !host_experts_.empty())
    std::copy_n(link_.read(out.experts, host_experts_.size()), host_experts_.size(), host_experts_.begin());
  host_weights_.resize(host_experts_.size());
  host_load_.resize(routing->num_experts);
  if (router.gating.method == GatingMethod::kOnlyExpert)
    route_to_only_expert(tokens);
  else
    route_on_host(router, tokens);
  link_.send<int32_t>(out.experts, host_experts_);
  link_.send<float>(out.weights, host_weights_);
  link_.send<uint32_t>(out.expert_load, host_load_);
  link_.send<RoutingTotals>(out.totals, std::span(&host_totals_, 1));
  routing->on_host = host_experts_;
  routing->weights_on_host = host_weights_;
  return routing;
}

Array RouteStage::products(const RouterWeights& router, Matrix hidden) {
  const cann::Operators& operators = npu_.cann().operators;
  const Dims dims{hidden.rows, router.columns};
  const Array products = array_of(logits_.reserve<float>(dims.product()), DataType::kFloat32, dims);
  queue_.run(operators.matmul, array_of(hidden.data, DataType::kFloat32, {hidden.rows, hidden.cols}),
             array_of(router.matrix.data(), DataType::kFloat32, {router.depth, router.columns}), products,
             cann::CubeMath::kKeepType);
  if (router.host_bias.empty()) return products;
  const Array biased = array_of(biased_.reserve<float>(dims.product()), DataType::kFloat32, dims);
  queue_.run(operators.add, products, array_of(router.bias.data(), DataType::kFloat32, {router.columns}), 1.0f, biased);
  return biased;
}

void RouteStage::gate_on_device(const AscendRouter& router, Matrix hidden, AscendRouting& routing) {
  const RoutingArrays& out = routing.arrays;
  float* const scratch = gating_.reserve<float>(hidden.rows * (routing.num_experts + routing.top_k));
  run_gating(queue_, npu_.cann().operators, router.gating, products(*router.matrix, hidden),
             static_cast<const float*>(router.device_correction_bias.data()), routing.top_k, out.weights, out.experts,
             scratch);
  constexpr RoutingTotals kDropless{.aux_loss = 0, .z_loss = 0, .dropped_choices = 0, .capacity = -1};
  link_.send<RoutingTotals>(out.totals, std::span(&kDropless, 1));
  routing.stage = this;
  routing.pending_load = out.expert_load;
  routing.chosen = array_of(out.experts, DataType::kInt32, {hidden.rows, routing.top_k});
  routing.hidden = array_of(hidden.data, DataType::kFloat32, {hidden.rows, std::min(hidden.cols, kFewColumns)});
}

void RouteStage::count_load(const AscendRouting& routing) {
  npu_.bind();
  sort_.run(routing.hidden, routing.chosen, routing.num_experts, nullptr, std::exchange(routing.pending_load, nullptr));
}

void RouteStage::route_on_host(const AscendRouter& router, const Tokens& tokens) {
  const Matrix& hidden = tokens.hidden;
  const size_t count = hidden.rows * router.spec.moe.router_rows();
  HostExecutor executor(router.spec.threads);
  const float* values = nullptr;
  if (npu_.profile().float32_products && hidden.rows > 0) {
    values = link_.read(static_cast<const float*>(products(*router.matrix, hidden).data), count);
  } else {
    host_logits_.resize(count);
    router.matrix->multiply(host_values(tokens), hidden.rows, executor, host_logits_.data());
    values = host_logits_.data();
  }
  router.choose->route({values, count}, hidden.rows, executor,
                       {host_experts_.data(), host_weights_.data(), host_load_.data(), &host_totals_}, tokens.chosen);
}

// The only expert takes every token whose values are finite, with weight 1.
void RouteStage::route_to_only_expert(const Tokens& tokens) {
  const float* const values = host_values(tokens);
  for (int64_t token = 0; token < tokens.hidden.rows; ++token) {
    const bool finite = is_finite(values + token * tokens.hidden.cols, tokens.hidden.cols);
    host_experts_[token] = finite ? 0 : -1;
    host_weights_[token] = finite ? 1.0f : std::numeric_limits<float>::quiet_NaN();
  }
  host_load_[0] = static_cast<uint32_t>(std::count(host_experts_.begin(), host_experts_.end(), 0));
  host_totals_ = {.aux_loss = 0, .z_loss = 0, .dropped_choices = 0, .capacity = -1};
}

const float* RouteStage::host_values(const Tokens& tokens) {
  if (tokens.hidden.rows == 0) return nullptr;
  return tokens.on_host ? tokens.on_host : link_.read(tokens.hidden.floats(), tokens.hidden.rows * tokens.hidden.cols);
}

}  // namespace moe::ascend
