// From tokens to choices, on the device where an operator means what the layer's routing means, else on the host.
#pragma once
#include <utility>
#include <vector>

#include "ascend/plan.h"
#include "ascend/layer.h"

namespace moe::ascend {

class RouteStage {
 public:
  RouteStage(Npu& device, OperatorQueue& queue, HostLink& link, DeviceSort& sort);

  void route(const AscendLayer& layer, Matrix hidden, const Routing& out);

  // The choices of the last call, where they are on the host; null where they are on the device alone, or elsewhere.
  const int32_t* on_host(const int32_t* experts) const;
  bool knows(const void* experts) const { return experts == experts_; }
  // Whether they were made on the device, for tokens that are finite.
  bool on_device(const int32_t* experts) const { return device_choices_ && experts == experts_; }

  // Those choices, int32 [T, K].
  const Array& choices() const { return chosen_; }

  // Where the load of the last call is to be written by whoever sorts its choices next; null where it has been.
  uint32_t* take_pending_load() { return std::exchange(pending_load_, nullptr); }
  // Writes the load if nobody has.
  void finish_load();
  bool is_pending_load(const void* memory) const { return pending_load_ && memory == pending_load_; }

  // The tokens, [tokens, H], on the host; waits where they did not come from there. Valid until the link finishes.
  const float* host_values(Matrix hidden);
  // What the last call knows of its choices is no longer true.
  void forget() { experts_ = nullptr; }
  // [tokens, columns] in device memory: hidden . matrix + bias. Valid until the next call.
  Array products(const RouterWeights& router, Matrix hidden);

 private:
  bool may_gate(const AscendLayer& layer, Matrix hidden) const;
  void gate_on_device(const AscendLayer& layer, Matrix hidden, const Routing& out);
  void route_on_host(const AscendLayer& layer, Matrix hidden);
  void route_to_only_expert(Matrix hidden);
  void send(const Routing& out);

  Npu& device_;
  OperatorQueue& queue_;
  HostLink& link_;
  DeviceSort& sort_;
  DeviceScratch logits_, biased_, gating_;

  const int32_t* experts_ = nullptr;  // of the last call, on the device
  bool device_choices_ = false;
  uint32_t* pending_load_ = nullptr;
  Array chosen_{}, hidden_{};
  int64_t num_experts_ = 0;

  std::vector<float> host_logits_, host_weights_;
  std::vector<int32_t> host_experts_;
  std::vector<uint32_t> host_load_;
  RoutingTotals host_totals_{};
};

}  // namespace moe::ascend
