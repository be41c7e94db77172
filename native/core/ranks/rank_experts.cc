#include "core/ranks/rank_experts.h"

#include <optional>

#include "core/error.h"
#include "core/experts/weighed_input.h"
#include "core/ranks/column_parallel.h"

namespace moe {

void RankExperts::keep_own(Device& device, LayerSpec& spec, LayerWeights& weights, const ParallelOptions& options) {
  const GroupShape& shape = options.group->shape();
  if (shape.model_parallel > 1 && !device.moe().columns())
    throw Error(ErrorCode::kConfig, "Expected `modelParallel` to be 1: this device holds whole experts only");
  if (shape.model_parallel > 1 && weights.packed)
    throw Error(ErrorCode::kConfig, "Expected `modelParallel` 1 with packed weights: columns are packed as a whole");
  const std::span<const int32_t> experts = options.placement.experts_of(shape.set());
  spec.local_experts = static_cast<int32_t>(experts.size());
  cut_columns(spec, weights, shape);
  if (weights.packed) weights.packed->experts.assign(experts.begin(), experts.end());
}

// What is sent where is planned on the host, which has to know it anyway. What comes back is planned by the device, as
// rows at home are.
void RankExperts::run(Workspace& workspace, Matrix hidden, const Routing& routing, FunctionRef<Matrix()> shared,
                      Matrix out, const std::stop_token& stop) {
  std::vector<int32_t>& choices = workspace.choices;
  choices.resize(routing.tokens * routing.top_k);
  device_.download(choices.data(), routing.arrays.experts, choices.size() * sizeof(int32_t));
  device_.synchronize();
  for (int32_t& choice : choices)
    if (choice >= routing.num_experts) choice = -1;  // identities stay at home
  std::optional<WeighedInput> weighed;
  if (weight_on_input_) weighed.emplace(device_.moe(), *prepared_, workspace, hidden, routing);
  Matrix always{};
  const Matrix rows = parallel_.run(
      *prepared_, weighed ? weighed->rows : hidden, choices, [&] { always = shared(); }, stop);
  const ExpertExchange::Blocks blocks = parallel_.blocks();
  const std::unique_ptr<Plan> plan = device_.moe().plan(blocks.of_slot, blocks.count, routing.top_k);
  device_.moe().combine(*prepared_, rows, weighed ? weighed->mixed : routing, *plan, always, out);
}

}  // namespace moe
