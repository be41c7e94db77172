#include "core/experts/here_experts.h"

namespace moe {

void HereExperts::run(Workspace& workspace, Matrix hidden, const Routing& routing, FunctionRef<Matrix()> shared,
                      Matrix out, const std::stop_token& stop) {
  const int64_t slots = routing.tokens * routing.top_k;
  const Matrix rows = float_matrix(workspace.rows.reserve<float>(slots * hidden.cols), slots, hidden.cols);
  const std::unique_ptr<Plan> plan = clock_.time(Stage::kPlan, [&] { return stages_.plan(routing); });
  clock_.time(Stage::kRun, [&] { stages_.run(*prepared_, hidden, *plan, rows, stop); });
  const Matrix always = shared();
  clock_.time(Stage::kCombine, [&] { stages_.combine(*prepared_, rows, routing, *plan, always, out); });
}

}  // namespace moe
