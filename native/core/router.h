// From router logits to expert choices, exactly as MindFormers' TopkRouterV1 and TopkRouterV2.
#pragma once
#include <span>

#include "core/backend.h"
#include "core/config.h"
#include "core/executor.h"

namespace moe {

class Router {
 public:
  // correction_bias: [E], or empty; used when config.balance_via_topk_bias is set.
  Router(const MoEConfig& config, std::span<const float> correction_bias);

  // logits: [tokens, E] float32, router bias included. Writes all of `out` (host memory). The result does not depend
  // on how `executor` cuts the work. Not thread-safe: scratch is kept between calls.
  void route(std::span<const float> logits, int64_t tokens, Executor& executor, const Routing& out);
};

}  // namespace moe
