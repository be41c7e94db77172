#include "ascend/stages.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/host/host_executor.h"

namespace moe::ascend {
namespace {

using cann::DataType;

// Cuts begin at a multiple of this many rows, which keeps them aligned for every type and width.
constexpr int64_t kCutRows = 16;
constexpr int64_t kMegabyte = int64_t{1} << 20, kDefaultWorkspaceMegabytes = 1024;

const AscendExperts& as_ascend(const PreparedExperts& experts) { return static_cast<const AscendExperts&>(experts); }
const AscendPlan& as_ascend(const Plan& plan) { return static_cast<const AscendPlan&>(plan); }

void expect_not_stopped(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "The call was aborted");
}

size_t workspace_bytes() {
  const char* const value = std::getenv("MOE_ASCEND_WORKSPACE_MB");
  if (!value || !*value) return kDefaultWorkspaceMegabytes * kMegabyte;
  char* end = nullptr;
  const double megabytes = std::strtod(value, &end);
  if (*end || !(megabytes > 0 && megabytes <= 1 << 20))
    throw Error(ErrorCode::kConfig,
                std::string("Expected MOE_ASCEND_WORKSPACE_MB to be a number of megabytes, got '") + value + "'");
  return static_cast<size_t>(megabytes * kMegabyte);
}

Array as_array(Matrix matrix) { return array_of(matrix.data, DataType::kFloat32, {matrix.rows, matrix.cols}); }

}  // namespace

AscendStages::AscendStages(Npu& npu, OperatorQueue& queue, HostLink& link)
    : npu_(npu),
      queue_(queue),
      link_(link),
      sort_(npu, queue),
      route_(npu, queue, link, sort_),
      experts_(npu, queue),
      gathered_(npu),
      counts_(npu),
      ungated_(npu),
      gates_(npu),
      padded_(npu),
      sums_(npu),
      factors_(npu),
      scaled_(npu),
      tokens_of_slots_(npu),
      workspace_bytes_(workspace_bytes()) {}

std::unique_ptr<PreparedRouter> AscendStages::prepare_router(const LayerSpec& spec, const LayerWeights& host) {
  npu_.bind();
  return std::make_unique<AscendRouter>(npu_, spec, host);
}

std::unique_ptr<PreparedExperts> AscendStages::prepare_experts(const LayerSpec& spec, const LayerWeights& host,
                                                               Progress progress, const std::stop_token& stop) {
  npu_.bind();
  return std::make_unique<AscendExperts>(npu_, spec, host.experts, WeightMatrix{}, progress, stop);
}

std::unique_ptr<PreparedExperts> AscendStages::prepare_shared(const LayerSpec& spec, const LayerWeights& host,
                                                              Progress progress, const std::stop_token& stop) {
  npu_.bind();
  return std::make_unique<AscendExperts>(npu_, spec.of_shared(), std::span(&*host.shared, 1), host.shared_router,
                                         progress, stop);
}

std::unique_ptr<Routing> AscendStages::route(const PreparedRouter& router, const Tokens& tokens,
                                             const RoutingArrays& out) {
  npu_.bind();
  return route_.route(static_cast<const AscendRouter&>(router), tokens, out);
}

std::unique_ptr<Plan> AscendStages::plan(const Routing& prepared) {
  const AscendRouting& routing = static_cast<const AscendRouting&>(prepared);
  if (!routing.stage) return plan(routing.on_host, routing.num_experts, routing.top_k);
  return std::make_unique<AscendPlan>(plans_.take(npu_), routing.tokens * routing.top_k, &routing);
}

std::unique_ptr<Plan> AscendStages::plan(std::span<const int32_t> choices, int32_t num_experts, int32_t fan_out) {
  npu_.bind();
  Pool<HostPlan>::Taken host = plans_.take(npu_);
  host->make(link_, choices, num_experts, fan_out);
  return std::make_unique<AscendPlan>(std::move(host), static_cast<int64_t>(choices.size()), nullptr);
}

// The host has routed: no gating operator is taken for weights on the input.
std::unique_ptr<Routing> AscendStages::weigh(const PreparedExperts&, const Routing& prepared, Matrix hidden,
                                             Matrix rows, float* ones) {
  npu_.bind();
  const AscendRouting& routing = static_cast<const AscendRouting&>(prepared);
  const RoutingArrays& arrays = routing.arrays;
  const RoutingArrays ones_of_slots{arrays.experts, ones, arrays.expert_load, arrays.totals};
  auto by_slot = std::make_unique<AscendRouting>(ones_of_slots, rows.rows, 1, routing.num_experts);
  by_slot->on_host = routing.on_host;
  if (rows.rows == 0) return by_slot;
  std::vector<float> values(rows.rows);
  std::vector<int64_t> tokens(rows.rows);
  for (int64_t slot = 0; slot < rows.rows; ++slot) {
    values[slot] = std::isnan(routing.weights_on_host[slot]) ? routing.weights_on_host[slot] : 1.0f;
    tokens[slot] = slot / routing.top_k;
  }
  link_.send<float>(ones, values);
  const Array index = array_of(tokens_of_slots_.reserve<int64_t>(rows.rows), DataType::kInt64, {rows.rows});
  link_.send<int64_t>(static_cast<int64_t*>(index.data), tokens);
  const Array gathered = as_array(float_matrix(scaled_.reserve<float>(rows.rows * rows.cols), rows.rows, rows.cols));
  queue_.run(npu_.cann().operators.index_select, as_array(hidden), 0, index, gathered);
  queue_.run(npu_.cann().operators.mul, gathered, array_of(arrays.weights, DataType::kFloat32, {rows.rows, 1}),
             as_array(rows));
  return by_slot;
}

void AscendStages::run(const PreparedExperts& prepared, Matrix hidden, const Plan& made, Matrix out,
                       const std::stop_token& stop) {
  npu_.bind();
  expect_not_stopped(stop);
  const AscendExperts& experts = as_ascend(prepared);
  const AscendPlan& plan = as_ascend(made);
  if (plan.routing && plan.slots <= rows_at_once(experts)) return run_sorted_by_device(experts, hidden, plan, out);
  if (const AscendRouting* const routing = std::exchange(plan.routing, nullptr)) {
    // The operator sorts all rows at once, and they do not fit: the host sorts.
    const std::span<const int32_t> choices(link_.read(routing->arrays.experts, plan.slots), plan.slots);
    plan.host->make(link_, choices, routing->num_experts, routing->top_k);
  }
  run_sorted_by_host(experts, hidden, *plan.host, out, stop);
}

void AscendStages::run_sorted_by_device(const AscendExperts& experts, Matrix hidden, const AscendPlan& plan,
                                        Matrix out) {
  const AscendRouting& routing = *plan.routing;
  const SortedRows sorted =
      sort_.run(experts_.narrow(experts, hidden), routing.chosen, routing.num_experts,
                plan.host->reserve_row_of_slot(plan.slots), std::exchange(routing.pending_load, nullptr));
  experts_.run(experts, sorted.rows, sorted.counts, out.floats());
}

void AscendStages::run_sorted_by_host(const AscendExperts& experts, Matrix hidden, HostPlan& plan, Matrix out,
                                      const std::stop_token& stop) {
  const int64_t rows = plan.sorted().rows();
  if (rows == 0) return;
  const Array x = experts_.narrow(experts, hidden);
  const int64_t columns = x.dims.values[1], step = rows_at_once(experts);
  for (int64_t first = 0; first < rows; first += step) {
    expect_not_stopped(stop);
    const int64_t count = std::min(step, rows - first);
    const Array gathered =
        array_of(gathered_.reserve_bytes(count * columns * size_of(x.type)), x.type, {count, columns});
    queue_.run(npu_.cann().operators.index_select, x, 0, plan.tokens(link_, first, count), gathered);
    experts_.run(experts, gathered, plan.counts(link_, first, count), out.part(first, count).floats());
  }
}

void AscendStages::run_shared(const PreparedExperts& prepared, const Tokens& tokens, Matrix out,
                              const std::stop_token& stop) {
  npu_.bind();
  const AscendExperts& shared = as_ascend(prepared);
  const int64_t step = rows_at_once(shared);
  const Array counts = array_of(counts_.reserve<int64_t>(1), DataType::kInt64, {1});
  for (int64_t first = 0; first < out.rows; first += step) {
    expect_not_stopped(stop);
    const int64_t count = std::min(step, out.rows - first);
    const Tokens in = tokens.part(first, count);
    const Matrix to = out.part(first, count);
    link_.send<int64_t>(static_cast<int64_t*>(counts.data), std::span(&count, 1));
    float* const rows = shared.gate ? ungated_.reserve<float>(count * out.cols) : to.floats();
    experts_.run(shared, experts_.narrow(shared, in.hidden), counts, rows);
    if (shared.gate)
      queue_.run(npu_.cann().operators.mul, as_array(float_matrix(rows, count, out.cols)), shared_gates(shared, in),
                 as_array(to));
  }
}

void AscendStages::add_identities(const PreparedExperts&, const Routing& prepared, Matrix hidden, float shared_scale,
                                  Matrix always) {
  if (always.rows == 0) return;
  npu_.bind();
  const cann::Operators& operators = npu_.cann().operators;
  const AscendRouting& routing = static_cast<const AscendRouting&>(prepared);
  const auto is_identity = [&](int32_t expert) { return expert >= routing.num_experts; };
  const bool identities = std::any_of(routing.on_host.begin(), routing.on_host.end(), is_identity);
  const size_t values = always.rows * always.cols;
  const Array scaled = as_array(float_matrix(scaled_.reserve<float>(values), always.rows, always.cols));
  if (!identities &&
      shared_scale != 0.0f) {  // scaled into another place and back: an operator is not said to work in place
    queue_.run(operators.muls, as_array(always), shared_scale, scaled);
    return queue_.run(operators.muls, scaled, 1.0f, as_array(always));
  }
  std::vector<float> factors(always.rows, 0.0f);
  for (size_t slot = 0; slot < routing.on_host.size(); ++slot)
    if (is_identity(routing.on_host[slot])) factors[slot / routing.top_k] += routing.weights_on_host[slot];
  const Array factor = array_of(factors_.reserve<float>(always.rows), DataType::kFloat32, {always.rows, 1});
  link_.send<float>(static_cast<float*>(factor.data), factors);
  if (shared_scale == 0.0f) return queue_.run(operators.mul, as_array(hidden), factor, as_array(always));
  const Array added = as_array(float_matrix(sums_.reserve<float>(values), always.rows, always.cols));
  queue_.run(operators.muls, as_array(always), shared_scale, scaled);
  queue_.run(operators.mul, as_array(hidden), factor, added);
  queue_.run(operators.add, scaled, added, 1.0f, as_array(always));
}

Array AscendStages::shared_gates(const AscendExperts& shared, const Tokens& tokens) {
  const int64_t rows = tokens.hidden.rows;
  const Array gates = array_of(gates_.reserve<float>(rows), DataType::kFloat32, {rows, 1});
  if (npu_.profile().float32_products) {
    queue_.run(npu_.cann().operators.sigmoid, route_.products(*shared.gate, tokens.hidden), gates);
    return gates;
  }
  std::vector<float> values(rows);
  HostExecutor executor(shared.spec.threads);
  shared.gate->multiply(route_.host_values(tokens), rows, executor, values.data());
  for (float& value : values) value = 1.0f / (1.0f + std::exp(-value));
  link_.send<float>(static_cast<float*>(gates.data), values);
  return gates;
}

void AscendStages::combine(const PreparedExperts& prepared, Matrix rows, const Routing& routing, const Plan& made,
                           Matrix shared, Matrix out) {
  if (out.rows == 0) return;
  npu_.bind();
  const AscendExperts& experts = as_ascend(prepared);
  const AscendPlan& plan = as_ascend(made);
  const cann::Operators& operators = npu_.cann().operators;
  const Array row_of = row_of_slot(rows, plan), combined = as_array(rows);
  const Array weights = array_of(routing.arrays.weights, DataType::kFloat32, {out.rows, plan.slots / out.rows});
  const auto finalize = [&](const Array& from, const std::optional<Array>& added, const Array& to) {
    queue_.run(operators.finalize_routing, from, row_of, added, nullptr, nullptr, weights, nullptr,
               cann::kRowOrderDropless, to);
  };
  std::optional<Array> added;
  if (shared.data) added = as_array(shared);
  if (npu_.profile().column_multiple == 1) return finalize(combined, added, as_array(out));

  // Here the operator takes rows of some widths only, and adds nothing to their sum.
  const Array from = experts_.widen_columns(experts, combined);
  const bool padded = experts.padded_hidden != out.cols;
  const Array sums =
      added ? as_array(float_matrix(sums_.reserve<float>(out.rows * out.cols), out.rows, out.cols)) : as_array(out);
  if (padded) {
    const Array wide = as_array(
        float_matrix(padded_.reserve<float>(out.rows * experts.padded_hidden), out.rows, experts.padded_hidden));
    finalize(from, std::nullopt, wide);
    experts_.narrow_columns(experts, wide, sums.data);
  } else {
    finalize(from, std::nullopt, sums);
  }
  if (added) queue_.run(operators.add, sums, *added, 1.0f, as_array(out));
}

// A slot without a row adds weight * 0, which is NaN for a token that could not be routed.
Array AscendStages::row_of_slot(Matrix rows, const AscendPlan& plan) {
  if (plan.routing) return array_of(plan.host->reserve_row_of_slot(plan.slots), DataType::kInt32, {plan.slots});
  const int64_t kept = plan.host->sorted().rows();
  if (kept < plan.slots) npu_.clear(rows.part(kept, 1).data, rows.part(kept, 1).bytes());
  return plan.host->row_of_slot(link_);
}

int64_t AscendStages::rows_at_once(const AscendExperts& experts) const {
  const auto rows = static_cast<int64_t>(workspace_bytes_) / ExpertStage::scratch_per_row(experts);
  return std::max(kCutRows, rows / kCutRows * kCutRows);
}

}  // namespace moe::ascend
