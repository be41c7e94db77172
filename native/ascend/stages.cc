#include "ascend/stages.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "ascend/collective.h"
#include "ascend/host_executor.h"
#include "core/error.h"

namespace moe::ascend {
namespace {

using cann::DataType;

// Cuts begin at a multiple of this many rows, which keeps them aligned for every type and width.
constexpr int64_t kCutRows = 16;
constexpr int64_t kMegabyte = int64_t{1} << 20, kDefaultWorkspaceMegabytes = 1024;

const AscendLayer& as_ascend(const PreparedLayer& layer) { return static_cast<const AscendLayer&>(layer); }

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

Matrix rows_of(Matrix matrix, int64_t first, int64_t count) {
  return {matrix.data + first * matrix.cols, count, matrix.cols};
}

Array as_array(Matrix matrix) { return array_of(matrix.data, DataType::kFloat32, {matrix.rows, matrix.cols}); }

}  // namespace

AscendDevice::AscendDevice(int index)
    : device_(cann_library(), index),
      queue_(device_),
      link_(device_),
      sort_(device_, queue_),
      route_(device_, queue_, link_, sort_),
      experts_(device_, queue_),
      plan_(device_, link_),
      gathered_(device_),
      counts_(device_),
      ungated_(device_),
      gates_(device_),
      padded_(device_),
      sums_(device_),
      completed_(device_),
      workspace_bytes_(workspace_bytes()) {}

void* AscendDevice::allocate(size_t bytes) {
  device_.bind();
  return device_.allocate(bytes);
}

void AscendDevice::deallocate(void* memory) noexcept { device_.deallocate(memory); }

void AscendDevice::upload(void* device, const void* host, size_t bytes) {
  device_.bind();
  if (route_.knows(device)) route_.forget();
  if (device == planned_) planned_ = nullptr;  // it is another's plan now
  link_.upload(device, host, bytes);
}

void AscendDevice::download(void* host, const void* device, size_t bytes) {
  device_.bind();
  if (route_.is_pending_load(device)) route_.finish_load();
  link_.download(host, device, bytes);
}

std::unique_ptr<PreparedLayer> AscendDevice::prepare(const LayerSpec& spec, const LayerWeights& host,
                                                      Progress progress, const std::stop_token& stop) {
  device_.bind();
  return std::make_unique<AscendLayer>(device_, spec, host, progress, stop);
}

void AscendDevice::route(const PreparedLayer& layer, Matrix hidden, const Routing& out) {
  device_.bind();
  routed_ = &as_ascend(layer);
  route_.route(*routed_, hidden, out);
}

void AscendDevice::plan(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) {
  device_.bind();
  planned_ = out.row_of_slot;
  sorted_by_device_ = route_.on_device(experts) && out.slots <= rows_at_once(*routed_, routed_->experts);
  if (sorted_by_device_) return;
  const int32_t* on_host = route_.on_host(experts);
  if (!on_host && out.slots > 0) on_host = link_.read(experts, out.slots);
  plan_.make(on_host, num_experts, out);
}

void AscendDevice::run_experts(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out,
                                const std::stop_token& stop) {
  device_.bind();
  expect_not_stopped(stop);
  const AscendLayer& ascend = as_ascend(layer);
  if (is_planned(plan) && sorted_by_device_) return run_sorted_by_device(ascend, hidden, plan, out);
  if (!is_planned(plan)) {
    planned_ = nullptr;
    plan_.read(plan, ascend.experts.up.experts());
  }
  run_sorted_by_host(ascend, hidden, out, stop);
}

void AscendDevice::run_sorted_by_device(const AscendLayer& layer, Matrix hidden, const DispatchPlan& plan,
                                         Matrix out) {
  const Array chosen = route_.choices();
  const SortedRows sorted = sort_.run(experts_.narrow(layer, hidden), chosen, layer.spec.moe.expert_num,
                                      plan.row_of_slot, route_.take_pending_load());
  experts_.run(layer, layer.experts, sorted.rows, sorted.counts, out.data);
}

void AscendDevice::run_sorted_by_host(const AscendLayer& layer, Matrix hidden, Matrix out,
                                       const std::stop_token& stop) {
  if (plan_.rows() == 0) return;
  const Array x = experts_.narrow(layer, hidden);
  const int64_t columns = x.dims.values[1], step = rows_at_once(layer, layer.experts);
  for (int64_t first = 0; first < plan_.rows(); first += step) {
    expect_not_stopped(stop);
    const int64_t count = std::min(step, plan_.rows() - first);
    const Array rows = array_of(gathered_.reserve(count * columns * size_of(x.type)), x.type, {count, columns});
    queue_.run(device_.cann().operators.index_select, x, 0, plan_.tokens(first, count), rows);
    experts_.run(layer, layer.experts, rows, plan_.counts(first, count), out.data + first * out.cols);
  }
}

void AscendDevice::run_shared(const PreparedLayer& layer, Matrix hidden, Matrix out, const std::stop_token& stop) {
  device_.bind();
  const AscendLayer& ascend = as_ascend(layer);
  const int64_t step = rows_at_once(ascend, *ascend.shared);
  const Array counts = array_of(counts_.reserve_as<int64_t>(1), DataType::kInt64, {1});
  for (int64_t first = 0; first < hidden.rows; first += step) {
    expect_not_stopped(stop);
    const int64_t count = std::min(step, hidden.rows - first);
    const Matrix in = rows_of(hidden, first, count), to = rows_of(out, first, count);
    link_.send<int64_t>(static_cast<int64_t*>(counts.data), std::span(&count, 1));
    float* const rows = ascend.shared_router ? ungated_.reserve_as<float>(count * out.cols) : to.data;
    experts_.run(ascend, *ascend.shared, experts_.narrow(ascend, in), counts, rows);
    if (ascend.shared_router)
      queue_.run(device_.cann().operators.mul, as_array({rows, count, out.cols}), shared_gates(ascend, in),
                 as_array(to));
  }
}

Array AscendDevice::shared_gates(const AscendLayer& layer, Matrix hidden) {
  const Array gates = array_of(gates_.reserve_as<float>(hidden.rows), DataType::kFloat32, {hidden.rows, 1});
  if (device_.profile().float32_products) {
    queue_.run(device_.cann().operators.sigmoid, route_.products(*layer.shared_router, hidden), gates);
    return gates;
  }
  std::vector<float> values(hidden.rows);
  HostExecutor executor(layer.spec.threads);
  layer.shared_router->multiply(route_.host_values(hidden), hidden.rows, executor, values.data());
  for (float& value : values) value = 1.0f / (1.0f + std::exp(-value));
  link_.send<float>(static_cast<float*>(gates.data), values);
  return gates;
}

void AscendDevice::combine(const PreparedLayer& layer, Matrix rows, const Routing& routing, const DispatchPlan& plan,
                            Matrix shared, Matrix out) {
  if (out.rows == 0) return;
  device_.bind();
  const AscendLayer& ascend = as_ascend(layer);
  const cann::Operators& operators = device_.cann().operators;
  const CombinedRows combined = combined_rows(rows, plan);
  const Array weights = array_of(routing.weights, DataType::kFloat32, {out.rows, plan.fan_out});
  const auto finalize = [&](const Array& from, const std::optional<Array>& added, const Array& to) {
    queue_.run(operators.finalize_routing, from, combined.row_of_slot, added, nullptr, nullptr, weights, nullptr,
               cann::kRowOrderDropless, to);
  };
  std::optional<Array> added;
  if (shared.data) added = as_array(shared);
  if (device_.profile().column_multiple == 1) return finalize(combined.rows, added, as_array(out));

  // Here the operator takes rows of some widths only, and adds nothing to their sum.
  const Array from = experts_.widen_columns(ascend, combined.rows);
  const bool padded = ascend.padded_hidden != out.cols;
  const Array sums =
      added ? as_array({sums_.reserve_as<float>(out.rows * out.cols), out.rows, out.cols}) : as_array(out);
  if (padded) {
    const Matrix wide{padded_.reserve_as<float>(out.rows * ascend.padded_hidden), out.rows, ascend.padded_hidden};
    finalize(from, std::nullopt, as_array(wide));
    experts_.narrow_columns(ascend, as_array(wide), sums.data);
  } else {
    finalize(from, std::nullopt, sums);
  }
  if (added) queue_.run(operators.add, sums, *added, 1.0f, as_array(out));
}

// A slot without a row adds weight * 0, which is NaN for a token that could not be routed.
AscendDevice::CombinedRows AscendDevice::combined_rows(Matrix rows, const DispatchPlan& plan) {
  const Array as_they_are = array_of(plan.row_of_slot, DataType::kInt32, {plan.slots});
  std::span<const int32_t> row_of_slot;
  int64_t kept = rows.rows;
  if (is_planned(plan)) {
    if (sorted_by_device_ || !plan_.drops()) return {as_array(rows), as_they_are};
    row_of_slot = plan_.row_of_slot();
    kept = plan_.rows();
  } else {
    row_of_slot = {link_.read(plan.row_of_slot, plan.slots), static_cast<size_t>(plan.slots)};
    const bool drops = std::find(row_of_slot.begin(), row_of_slot.end(), -1) != row_of_slot.end();
    if (!drops && rows.rows == plan.slots) return {as_array(rows), as_they_are};
  }
  // The operator wants a row per slot, so there is room for one of zeros.
  Matrix all = rows;
  if (rows.rows != plan.slots) {
    all = {completed_.reserve_as<float>(plan.slots * rows.cols), plan.slots, rows.cols};
    device_.copy_on_device(all.data, rows.data, kept * rows.cols * sizeof(float));
  }
  if (kept < plan.slots) device_.clear(all.data + kept * rows.cols, rows.cols * sizeof(float));
  return {as_array(all), plan_.rows_of_slots(row_of_slot, static_cast<int32_t>(kept))};
}

std::unique_ptr<Collective> AscendDevice::connect(Collective& host) {
  device_.bind();
  return HcclCollective::connect(device_, host);
}

void AscendDevice::synchronize() {
  device_.bind();
  route_.finish_load();
  route_.forget();
  link_.finish();
}

int64_t AscendDevice::rows_at_once(const AscendLayer& layer, const Experts& experts) const {
  const auto rows = static_cast<int64_t>(workspace_bytes_) / ExpertStage::scratch_per_row(layer, experts);
  return std::max(kCutRows, rows / kCutRows * kCutRows);
}

}  // namespace moe::ascend
