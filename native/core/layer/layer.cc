#include "core/layer/layer.h"

#include "core/weights/check_weights.h"
#include "core/ranks/column_parallel.h"
#include "core/error.h"
#include "core/weights/float16.h"

namespace moe {
namespace {

const float* as_float32(const HostBatch& batch, int64_t values, std::vector<float>& widened) {
  if (batch.dtype == DType::kFloat32) return static_cast<const float*>(batch.data);
  widened.resize(values);
  widen(batch.data, batch.dtype, values, widened.data());
  return widened.data();
}

void check_layout(const std::string& layout, const std::string& expected) {
  if (expected.empty())
    throw Error(ErrorCode::kCheckpoint, "Expected weights that are not packed: this device packs them itself");
  if (layout != expected)
    throw Error(ErrorCode::kCheckpoint, "Expected weights packed as `" + expected +
                                            "`, which this device reads, got `" + layout +
                                            "`: pack the checkpoint again here");
}

}  // namespace

Workspace::Workspace(Device& device)
    : hidden(device),
      output(device),
      rows(device),
      shared(device),
      experts(device),
      weights(device),
      expert_load(device),
      totals(device),
      slot_of_row(device),
      row_of_slot(device),
      expert_offsets(device),
      blocks(device) {}

Layer::Layer(Device& device, const LayerSpec& spec, const LayerWeights& weights, Progress progress,
             const std::stop_token& stop, std::optional<ParallelOptions> parallel)
    : device_(device), spec_(spec) {
  if (spec_.int8_activations && !device.takes_int8_activations())
    throw Error(ErrorCode::kConfig, "Expected `activationType` 'float': this device has no other");
  if (!parallel) {
    check_weights(spec_, weights);
    if (weights.packed) check_layout(weights.packed->layout, device.packed_layout(spec_));
    prepared_ = device.prepare(spec_, weights, progress, stop);
    return;
  }
  const std::shared_ptr<ExpertGroup> group = parallel->group;
  try {
    if (weights.packed && group->shape().model_parallel > 1)
      throw Error(ErrorCode::kConfig, "Expected `modelParallel` 1 with packed weights: columns are packed as a whole");
    LayerWeights held = weights;
    const std::span<const int32_t> experts = parallel->placement.experts_of(group->shape().set());
    spec_.local_experts = static_cast<int32_t>(experts.size());
    cut_columns(spec_, held, group->shape());
    check_weights(spec_, held);
    if (held.packed) {
      check_layout(held.packed->layout, device.packed_layout(spec_));
      held.packed->experts.assign(experts.begin(), experts.end());
    }
    prepared_ = device.prepare(spec_, held, progress, stop);
    parallel_ = std::make_unique<ExpertParallel>(device, spec_, std::move(*parallel));
  } catch (...) {
    group->fail(std::current_exception());
    throw;
  }
}

// A rank that fails leaves its peers waiting: they are told.
void Layer::forward(Workspace& workspace, const HostBatch& batch, const ForwardOutput& out,
                    const std::stop_token& stop) const {
  if (!parallel_) return run(workspace, batch, out, stop);
  try {
    run(workspace, batch, out, stop);
  } catch (...) {
    if (out.output) parallel_->group().fail(std::current_exception());
    throw;
  }
}

int64_t Layer::next_call() const {
  if (!parallel_) throw Error(ErrorCode::kConfig, "Expected a layer of a group");
  try {
    return parallel_->group().next_call();
  } catch (...) {
    parallel_->group().fail(std::current_exception());
    throw;
  }
}

void Layer::sum_over_group(std::span<double> values) const {
  if (!parallel_) return;
  try {
    parallel_->sum(values);
  } catch (...) {
    parallel_->group().fail(std::current_exception());
    throw;
  }
}

void Layer::run(Workspace& workspace, const HostBatch& batch, const ForwardOutput& out,
                const std::stop_token& stop) const {
  const int64_t tokens = batch.tokens, hidden_size = spec_.hidden_size, values = tokens * hidden_size;
  const int32_t num_experts = spec_.moe.expert_num, top_k = spec_.moe.num_experts_chosen;
  const int64_t slots = tokens * top_k;
  if (slots > INT32_MAX) throw Error(ErrorCode::kShape, "Expected fewer than 2^31 (token, choice) pairs in one call");

  const Matrix hidden{workspace.hidden.reserve<float>(values), tokens, hidden_size};
  const Routing routing{workspace.experts.reserve<int32_t>(slots), workspace.weights.reserve<float>(slots),
                        workspace.expert_load.reserve<uint32_t>(num_experts),
                        workspace.totals.reserve<RoutingTotals>(1)};
  device_.upload(hidden.data, as_float32(batch, values, workspace.widened), values * sizeof(float));
  device_.route(*prepared_, hidden, routing);

  if (out.output) {
    DispatchPlan plan{workspace.slot_of_row.reserve<int32_t>(slots), workspace.row_of_slot.reserve<int32_t>(slots),
                      workspace.expert_offsets.reserve<int32_t>(num_experts + 1), slots, top_k};
    const Matrix output{workspace.output.reserve<float>(values), tokens, hidden_size};
    Matrix rows{nullptr, slots, hidden_size}, shared{nullptr, tokens, hidden_size};
    if (parallel_) {
      rows = run_on_group(workspace, hidden, routing, plan, shared, stop);
    } else {
      rows.data = workspace.rows.reserve<float>(slots * hidden_size);
      device_.plan(routing.experts, num_experts, plan);
      device_.run_experts(*prepared_, hidden, plan, rows, stop);
      run_shared(workspace, hidden, shared, stop);
    }
    device_.combine(*prepared_, rows, routing, plan, shared, output);
    device_.download(out.output, output.data, values * sizeof(float));
  }

  if (out.expert_ids) device_.download(out.expert_ids, routing.experts, slots * sizeof(int32_t));
  if (out.weights) device_.download(out.weights, routing.weights, slots * sizeof(float));
  if (out.expert_load) device_.download(out.expert_load, routing.expert_load, num_experts * sizeof(uint32_t));
  if (out.totals) device_.download(out.totals, routing.totals, sizeof(RoutingTotals));
  device_.synchronize();
}

void Layer::run_shared(Workspace& workspace, Matrix hidden, Matrix& shared, const std::stop_token& stop) const {
  if (spec_.shared_size == 0) return;
  shared.data = workspace.shared.reserve<float>(shared.rows * shared.cols);
  device_.run_shared(*prepared_, hidden, shared, stop);
}

// What is sent where is planned on the host, which has to know it anyway. What comes back is planned by the device, as
// rows at home are.
Matrix Layer::run_on_group(Workspace& workspace, Matrix hidden, const Routing& routing, DispatchPlan& plan,
                           Matrix& shared, const std::stop_token& stop) const {
  workspace.choices.resize(plan.slots);
  device_.download(workspace.choices.data(), routing.experts, plan.slots * sizeof(int32_t));
  device_.synchronize();
  const auto meanwhile = [&] { run_shared(workspace, hidden, shared, stop); };
  const Matrix rows = parallel_->run(*prepared_, hidden, workspace.choices, meanwhile, stop);
  const auto blocks = parallel_->blocks();
  int32_t* const block_of_slot = workspace.blocks.reserve<int32_t>(plan.slots);
  device_.upload(block_of_slot, blocks.of_slot.data(), blocks.of_slot.size_bytes());
  plan.expert_offsets = workspace.expert_offsets.reserve<int32_t>(blocks.count + 1);
  device_.plan(block_of_slot, blocks.count, plan);
  return rows;
}

}  // namespace moe
