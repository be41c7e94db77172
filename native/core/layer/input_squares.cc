#include "core/layer/input_squares.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/experts/weighed_input.h"
#include "core/layer/layer.h"

namespace moe {
namespace {

void add_squares(const float* row, int64_t width, double* sums) {
  for (int64_t i = 0; i < width; ++i) sums[i] += static_cast<double>(row[i]) * row[i];
}

// The row of a plan at which each expert begins, and then that of its next.
std::vector<int64_t> first_rows(std::span<const int32_t> choices, int32_t experts) {
  std::vector<int64_t> rows(experts + 1);
  for (const int32_t expert : choices)
    if (expert >= 0 && expert < experts) ++rows[expert + 1];
  for (int32_t expert = 0; expert < experts; ++expert) rows[expert + 1] += rows[expert];
  return rows;
}

}  // namespace

void Layer::add_input_squares(Workspace& workspace, const HostBatch& batch, const InputSquares& sums,
                              const std::stop_token& stop) const {
  MoeStages& stages = device_.moe();
  ColumnStages* const halves = device_.capabilities().host_memory ? stages.columns() : nullptr;
  if (!halves)
    throw Error(ErrorCode::kDeviceUnavailable, "Expected a device that can stop between an expert's products");
  if (batch.dtype != DType::kFloat32) throw Error(ErrorCode::kShape, "Expected a batch of float32");
  auto* const data = static_cast<float*>(const_cast<void*>(batch.data));
  const Tokens tokens{float_matrix(data, batch.tokens, spec_.hidden_size), data, batch.experts != nullptr};
  const RoutingArrays arrays = arrays_in(workspace, batch.tokens);
  if (batch.experts) std::copy_n(batch.experts, batch.tokens * spec_.moe.num_experts_chosen, arrays.experts);
  const std::unique_ptr<Routing> routing = stages.route(*router_, tokens, arrays);
  Matrix rows = tokens.hidden;
  if (spec_.latent_size > 0) {
    rows = float_matrix(workspace.latent.reserve<float>(rows.rows * spec_.latent_size), rows.rows, spec_.latent_size);
    stages.linear(*latent_down_, tokens.hidden, {}, rows, stop);
  }
  std::optional<WeighedInput> weighed;
  if (spec_.moe.weight_on_input) {
    weighed.emplace(stages, routed_->prepared(), workspace, rows, *routing);
    rows = weighed->rows;
  }
  const Routing& of_rows = weighed ? *weighed->by_slot : *routing;
  const auto slots = of_rows.tokens * of_rows.top_k, width = static_cast<int64_t>(spec_.intermediate_size);
  const Matrix between = float_matrix(workspace.rows.reserve<float>(slots * width), slots, width);
  halves->run_up(routed_->prepared(), rows, *stages.plan(of_rows), between, stop);
  const std::span<const int32_t> choices(of_rows.arrays.experts, slots);
  std::vector<int64_t> next = first_rows(choices, spec_.moe.expert_num);
  for (int64_t slot = 0; slot < slots; ++slot) {
    const int64_t expert = choices[slot];
    if (expert < 0 || expert >= spec_.moe.expert_num) continue;
    ++sums.tokens[expert];
    add_squares(rows.floats() + slot / of_rows.top_k * rows.cols, rows.cols, sums.routed + expert * rows.cols);
    add_squares(between.floats() + next[expert]++ * width, width, sums.intermediate + expert * width);
  }
  routing->complete();
  if (!shared_ || !sums.shared) return;
  const int64_t shared = spec_.shared_size;
  const std::vector<int32_t> only(tokens.hidden.rows);
  const Matrix inside =
      float_matrix(workspace.shared.reserve<float>(tokens.hidden.rows * shared), tokens.hidden.rows, shared);
  halves->run_up(*shared_, tokens.hidden, *stages.plan(only, 1, 1), inside, stop);
  for (int64_t row = 0; row < inside.rows; ++row) add_squares(inside.floats() + row * shared, shared, sums.shared);
}

}  // namespace moe
