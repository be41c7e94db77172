#include "core/routing/router.h"

namespace moe {
namespace {

std::variant<TopkRouterV1, TopkRouterV2> make_policy(const MoEConfig& config, std::span<const float> correction_bias) {
  if (config.routing_policy == RoutingPolicy::kTopkRouterV1) return TopkRouterV1(config);
  return TopkRouterV2(config, correction_bias);
}

}  // namespace

Router::Router(const MoEConfig& config, std::span<const float> correction_bias)
    : policy_(make_policy(config, correction_bias)) {}

void Router::route(std::span<const float> logits, int64_t tokens, Executor& executor, const RoutingArrays& out) {
  std::visit([&](auto& policy) { policy.route(logits.data(), tokens, executor, out); }, policy_);
}

}  // namespace moe
