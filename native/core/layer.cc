#include "core/layer.h"

#include "core/check_weights.h"
#include "core/error.h"
#include "core/float16.h"

namespace moe {
namespace {

const float* as_float32(const HostBatch& batch, int64_t values, std::vector<float>& widened) {
  if (batch.dtype == DType::kFloat32) return static_cast<const float*>(batch.data);
  widened.resize(values);
  widen(batch.data, batch.dtype, values, widened.data());
  return widened.data();
}

}  // namespace

Workspace::Workspace(Backend& backend)
    : hidden(backend),
      output(backend),
      rows(backend),
      shared(backend),
      experts(backend),
      weights(backend),
      expert_load(backend),
      totals(backend),
      slot_of_row(backend),
      row_of_slot(backend),
      expert_offsets(backend) {}

Layer::Layer(Backend& backend, const LayerSpec& spec, const LayerWeights& weights, Progress progress,
             const std::stop_token& stop)
    : backend_(backend), spec_(spec) {
  check_weights(spec, weights);
  prepared_ = backend.prepare(spec, weights, progress, stop);
}

void Layer::forward(Workspace& workspace, const HostBatch& batch, const ForwardOutput& out,
                    const std::stop_token& stop) const {
  const int64_t tokens = batch.tokens, hidden_size = spec_.hidden_size, values = tokens * hidden_size;
  const int32_t num_experts = spec_.moe.expert_num, top_k = spec_.moe.num_experts_chosen;
  const int64_t slots = tokens * top_k;
  if (slots > INT32_MAX) throw Error(ErrorCode::kShape, "Expected fewer than 2^31 (token, choice) pairs in one call");

  const Matrix hidden{workspace.hidden.reserve<float>(values), tokens, hidden_size};
  const Routing routing{workspace.experts.reserve<int32_t>(slots), workspace.weights.reserve<float>(slots),
                        workspace.expert_load.reserve<uint32_t>(num_experts),
                        workspace.totals.reserve<RoutingTotals>(1)};
  backend_.upload(hidden.data, as_float32(batch, values, workspace.widened), values * sizeof(float));
  backend_.route(*prepared_, hidden, routing);

  if (out.output) {
    const DispatchPlan plan{workspace.slot_of_row.reserve<int32_t>(slots),
                            workspace.row_of_slot.reserve<int32_t>(slots),
                            workspace.expert_offsets.reserve<int32_t>(num_experts + 1), slots, top_k};
    const Matrix rows{workspace.rows.reserve<float>(slots * hidden_size), slots, hidden_size};
    const Matrix output{workspace.output.reserve<float>(values), tokens, hidden_size};
    Matrix shared{nullptr, tokens, hidden_size};
    backend_.plan(routing.experts, num_experts, plan);
    backend_.run_experts(*prepared_, hidden, plan, rows, stop);
    if (spec_.shared_size > 0) {
      shared.data = workspace.shared.reserve<float>(values);
      backend_.run_shared(*prepared_, hidden, shared, stop);
    }
    backend_.combine(*prepared_, rows, routing, plan, shared, output);
    backend_.download(out.output, output.data, values * sizeof(float));
  }

  if (out.expert_ids) backend_.download(out.expert_ids, routing.experts, slots * sizeof(int32_t));
  if (out.weights) backend_.download(out.weights, routing.weights, slots * sizeof(float));
  if (out.expert_load) backend_.download(out.expert_load, routing.expert_load, num_experts * sizeof(uint32_t));
  if (out.totals) backend_.download(out.totals, routing.totals, sizeof(RoutingTotals));
  backend_.synchronize();
}

}  // namespace moe
