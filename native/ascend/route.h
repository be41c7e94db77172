// From tokens to choices, on the device where an operator means what the layer's routing means, else on the host.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "ascend/layer.h"
#include "ascend/plan.h"

namespace moe::ascend {

class RouteStage;

class AscendRouting final : public Routing {
 public:
  using Routing::Routing;
  // Counts the load if nobody has sorted the choices.
  void complete() override;

  // The choices and their weights, until the next `route`, where the host made them.
  std::span<const int32_t> on_host;
  std::span<const float> weights_on_host;
  // Where the device made them, for tokens that are finite:
  RouteStage* stage = nullptr;
  Array chosen{};  // int32 [T, K]
  Array hidden{};  // a few columns of the tokens: sorting alone needs no more
  // Where the load is to be written by whoever sorts the choices first; null where it has been.
  mutable uint32_t* pending_load = nullptr;
};

class RouteStage {
 public:
  RouteStage(Npu& npu, OperatorQueue& queue, HostLink& link, DeviceSort& sort);

  std::unique_ptr<AscendRouting> route(const AscendRouter& router, const Tokens& tokens, const RoutingArrays& out);
  void count_load(const AscendRouting& routing);

  // The tokens on the host; waits where they did not come from there. Valid until the link finishes.
  const float* host_values(const Tokens& tokens);
  // [tokens, columns] in device memory: hidden . matrix + bias. Valid until the next call.
  Array products(const RouterWeights& router, Matrix hidden);

 private:
  void gate_on_device(const AscendRouter& router, Matrix hidden, AscendRouting& routing);
  void route_on_host(const AscendRouter& router, const Tokens& tokens);
  void route_to_only_expert(const Tokens& tokens);

  Npu& npu_;
  OperatorQueue& queue_;
  HostLink& link_;
  DeviceSort& sort_;
  DeviceScratch logits_, biased_, gating_;

  std::vector<float> host_logits_, host_weights_;
  std::vector<int32_t> host_experts_;
  std::vector<uint32_t> host_load_;
  RoutingTotals host_totals_{};
};

}  // namespace moe::ascend
