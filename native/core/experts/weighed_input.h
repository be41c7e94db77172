// What experts read where weights multiply their input: a row of its own for each choice, mixed with weight 1.
#pragma once
#include <memory>

#include "core/experts/workspace.h"
#include "core/moe_stages.h"

namespace moe {

struct WeighedInput {
  // In memory of the workspace. The routing is borrowed.
  WeighedInput(MoeStages& stages, const PreparedExperts& experts, Workspace& workspace, Matrix hidden,
               const Routing& routing)
      : rows(float_matrix(workspace.weighed.reserve<float>(slots_of(routing) * hidden.cols), slots_of(routing),
                          hidden.cols)),
        ones(workspace.ones.reserve<float>(slots_of(routing))),
        by_slot(stages.weigh(experts, routing, hidden, rows, ones)),
        mixed({routing.arrays.experts, ones, routing.arrays.expert_load, routing.arrays.totals}, routing.tokens,
              routing.top_k, routing.num_experts) {}

  static int64_t slots_of(const Routing& routing) { return routing.tokens * routing.top_k; }

  Matrix rows;                       // [slots, H]
  float* ones;                       // [slots]
  std::unique_ptr<Routing> by_slot;  // of the rows
  Routing mixed;                     // of the tokens, for `combine`
};

}  // namespace moe
