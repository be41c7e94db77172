#include "core/routing/router.h"

namespace moe {
namespace {

std::variant<TopkRouterV1, TopkRouterV2> make_policy(const MoEConfig& config, std::span<const float> correction_bias,
                                                     std::span<const float> expert_scale) {
  if (config.routing_policy == RoutingPolicy::kTopkRouterV1) return TopkRouterV1(config);
  return TopkRouterV2(config, correction_bias, expert_scale);
}

}  // namespace

Router::Router(const MoEConfig& config, std::span<const float> correction_bias, std::span<const float> expert_scale)
    : policy_(make_policy(config, correction_bias, expert_scale)) {}

void Router::route(std::span<const float> logits, int64_t tokens, Executor& executor, const RoutingArrays& out,
                   bool given) {
  if (auto* const v1 = std::get_if<TopkRouterV1>(&policy_))
    v1->route(logits.data(), tokens, executor, out);
  else
    std::get<TopkRouterV2>(policy_).route(logits.data(), tokens, executor, out, given);
}

}  // namespace moe
