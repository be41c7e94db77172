// From router logits to expert choices, exactly as MindFormers' TopkRouterV1 and TopkRouterV2, and with what else
// models have.
#pragma once
#include <span>
#include <variant>

#include "core/config.h"
#include "core/host/executor.h"
#include "core/moe_stages.h"
#include "core/routing/router_v1.h"
#include "core/routing/router_v2.h"

namespace moe {

class Router {
 public:
  // R is config.router_rows(). correction_bias: [R], or empty; used when config.balance_via_topk_bias is set. An expert
  // whose bias is NaN is chosen last. expert_scale: [E], or empty; what an expert's weight is multiplied by at the end.
  Router(const MoEConfig& config, std::span<const float> correction_bias, std::span<const float> expert_scale = {});

  // logits: [tokens, R] float32, router bias included. With `given`, out.experts has the choices, below R, and they are
  // weighed only: TopkRouterV2 alone can. Writes all of `out` (host memory). The result does not depend
  // on how `executor` cuts the work. Not thread-safe: scratch is kept between calls.
  //
  // A token with a logit that is NaN or +infinity, or with all -infinity, gets expert -1 and weight NaN in all choices;
  // it takes no slot and counts in no total. A single -infinity switches an expert off for the token: its score is 0.
  // The auxiliary loss is a mean over the routable tokens of a group, averaged over groups; the z-loss is a mean over
  // all routable tokens.
  void route(std::span<const float> logits, int64_t tokens, Executor& executor, const RoutingArrays& out,
             bool given = false);

 private:
  std::variant<TopkRouterV1, TopkRouterV2> policy_;
};

}  // namespace moe
