#include "core/experts/here_experts.h"

#include "core/experts/weighed_input.h"

namespace moe {

void HereExperts::run(Workspace& workspace, Matrix hidden, const Routing& routing, FunctionRef<Matrix()> shared,
                      Matrix out, const std::stop_token& stop) {
  const int64_t slots = routing.tokens * routing.top_k;
  const Matrix rows = float_matrix(workspace.rows.reserve<float>(slots * hidden.cols), slots, hidden.cols);
  const std::unique_ptr<Plan> plan = stages_.plan(routing);
  if (weight_on_input_) {
    const WeighedInput input(stages_, *prepared_, workspace, hidden, routing);
    stages_.run(*prepared_, input.rows, *stages_.plan(*input.by_slot), rows, stop);
    return stages_.combine(*prepared_, rows, input.mixed, *plan, shared(), out);
  }
  stages_.run(*prepared_, hidden, *plan, rows, stop);
  stages_.combine(*prepared_, rows, routing, *plan, shared(), out);
}

}  // namespace moe
