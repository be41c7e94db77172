#include "ascend/route.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ascend/host_executor.h"

namespace moe::ascend {
namespace {

using cann::DataType;

// A token of fewer values may be all zeros without a run of them that an upload notices.
constexpr int64_t kNoticed = 15;
// Sorting alone needs no more of a token.
constexpr int64_t kFewColumns = 32;

bool is_zero(const float* values, int64_t count) {
  return std::all_of(values, values + count, [](float value) { return value == 0; });
}

bool is_finite(const float* values, int64_t count) {
  return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

// A token that scores all experts alike, but for what is added.
bool has_zero_token(const UploadedBatch& batch, Matrix hidden) {
  if (!batch.zeros_in_a_row && hidden.cols >= kNoticed) return false;
  for (int64_t token = 0; token < hidden.rows; ++token)
    if (is_zero(batch.values + token * hidden.cols, hidden.cols)) return true;
  return false;
}

}  // namespace

RouteStage::RouteStage(Npu& device, OperatorQueue& queue, HostLink& link, DeviceSort& sort)
    : device_(device), queue_(queue), link_(link), sort_(sort), logits_(device), biased_(device), gating_(device) {}

void RouteStage::route(const AscendLayer& layer, Matrix hidden, const Routing& out) {
  experts_ = out.experts;
  pending_load_ = nullptr;
  num_experts_ = layer.spec.moe.expert_num;
  device_choices_ = may_gate(layer, hidden);
  if (device_choices_) return gate_on_device(layer, hidden, out);

  const int64_t slots = hidden.rows * layer.spec.moe.num_experts_chosen;
  host_experts_.resize(slots);
  host_weights_.resize(slots);
  host_load_.resize(num_experts_);
  if (layer.gating.method == GatingMethod::kOnlyExpert)
    route_to_only_expert(hidden);
  else
    route_on_host(layer, hidden);
  send(out);
}

bool RouteStage::may_gate(const AscendLayer& layer, Matrix hidden) const {
  if (layer.gating.method < GatingMethod::kSoftmax || hidden.rows == 0) return false;
  const UploadedBatch* const batch = link_.uploaded(hidden);
  return batch && layer.gating.bounds(batch->largest) && !has_zero_token(*batch, hidden);
}

Array RouteStage::products(const RouterWeights& router, Matrix hidden) {
  const cann::Operators& operators = device_.cann().operators;
  const Dims dims{hidden.rows, router.columns};
  const Array products = array_of(logits_.reserve_as<float>(dims.product()), DataType::kFloat32, dims);
  queue_.run(operators.matmul, array_of(hidden.data, DataType::kFloat32, {hidden.rows, hidden.cols}),
             array_of(router.matrix.data(), DataType::kFloat32, {router.depth, router.columns}), products,
             cann::CubeMath::kKeepType);
  if (router.host_bias.empty()) return products;
  const Array biased = array_of(biased_.reserve_as<float>(dims.product()), DataType::kFloat32, dims);
  queue_.run(operators.add, products, array_of(router.bias.data(), DataType::kFloat32, {router.columns}), 1.0f, biased);
  return biased;
}

void RouteStage::gate_on_device(const AscendLayer& layer, Matrix hidden, const Routing& out) {
  const int64_t top_k = layer.spec.moe.num_experts_chosen;
  float* const scratch = gating_.reserve_as<float>(hidden.rows * (num_experts_ + top_k));
  run_gating(queue_, device_.cann().operators, layer.gating, products(*layer.router, hidden),
             static_cast<const float*>(layer.device_correction_bias.data()), top_k, out.weights, out.experts, scratch);
  constexpr RoutingTotals kDropless{.aux_loss = 0, .z_loss = 0, .dropped_choices = 0, .capacity = -1};
  link_.send<RoutingTotals>(out.totals, std::span(&kDropless, 1));
  pending_load_ = out.expert_load;
  chosen_ = array_of(out.experts, DataType::kInt32, {hidden.rows, top_k});
  const int64_t columns = std::min(hidden.cols, kFewColumns);
  hidden_ = array_of(hidden.data, DataType::kFloat32, {hidden.rows, columns});
}

void RouteStage::finish_load() {
  if (pending_load_) sort_.run(hidden_, chosen_, num_experts_, nullptr, take_pending_load());
}

void RouteStage::route_on_host(const AscendLayer& layer, Matrix hidden) {
  const size_t count = hidden.rows * num_experts_;
  HostExecutor executor(layer.spec.threads);
  const float* values = nullptr;
  if (device_.profile().float32_products && hidden.rows > 0) {
    values = link_.read(static_cast<const float*>(products(*layer.router, hidden).data), count);
  } else {
    host_logits_.resize(count);
    layer.router->multiply(host_values(hidden), hidden.rows, executor, host_logits_.data());
    values = host_logits_.data();
  }
  layer.choose->route({values, count}, hidden.rows, executor,
                      {host_experts_.data(), host_weights_.data(), host_load_.data(), &host_totals_});
}

// The only expert takes every token whose values are finite, with weight 1.
void RouteStage::route_to_only_expert(Matrix hidden) {
  const float* const values = host_values(hidden);
  for (int64_t token = 0; token < hidden.rows; ++token) {
    const bool finite = is_finite(values + token * hidden.cols, hidden.cols);
    host_experts_[token] = finite ? 0 : -1;
    host_weights_[token] = finite ? 1.0f : std::numeric_limits<float>::quiet_NaN();
  }
  host_load_[0] = static_cast<uint32_t>(std::count(host_experts_.begin(), host_experts_.end(), 0));
  host_totals_ = {.aux_loss = 0, .z_loss = 0, .dropped_choices = 0, .capacity = -1};
}

const float* RouteStage::host_values(Matrix hidden) {
  if (hidden.rows == 0) return nullptr;
  const UploadedBatch* const batch = link_.uploaded(hidden);
  return batch ? batch->values : link_.read(hidden.data, hidden.rows * hidden.cols);
}

void RouteStage::send(const Routing& out) {
  link_.send<int32_t>(out.experts, host_experts_);
  link_.send<float>(out.weights, host_weights_);
  link_.send<uint32_t>(out.expert_load, host_load_);
  link_.send<RoutingTotals>(out.totals, std::span(&host_totals_, 1));
}

const int32_t* RouteStage::on_host(const int32_t* experts) const {
  return !device_choices_ && experts == experts_ ? host_experts_.data() : nullptr;
}

}  // namespace moe::ascend
