// The routing of a batch on the device: the router's product, the choice, capacity, losses and totals.
#pragma once
#include "core/moe_stages.h"
#include "core/routing/router_capacity.h"
#include "cuda/launch_queue.h"
#include "cuda/layer.h"
#include "cuda/memory.h"

namespace moe::cuda {

class RouteStage {
 public:
  RouteStage(LaunchQueue& queue, QueuedMemory& memory) : queue_(queue), memory_(memory) {}

  // At least one token. With `given`, out.experts has the choices.
  void run(const CudaRouter& router, Matrix hidden, const RoutingArrays& out, bool given);
  // logits[t] = router . hidden[t], for one router [H].
  const float* logits_of(const DeviceMemory& router, Matrix hidden);

 private:
  void route_to_only_expert(Matrix hidden, const RoutingArrays& out);
  void multiply(const RouterTask& task);
  void place(const CudaRouter& router, ChooseTask& choose, const RoutingArrays& out);
  void total(const CudaRouter& router, const ChooseTask& choose, const PlaceTask& place, const RoutingArrays& out);

  LaunchQueue& queue_;
  QueuedMemory& memory_;
  Scratch logits_{memory_}, shared_logits_{memory_}, scores_{memory_}, reciprocals_{memory_}, score_sums_{memory_};
  Scratch squares_{memory_}, choices_{memory_}, gates_{memory_}, loss_choices_{memory_}, kept_{memory_}, load_{memory_};
  Scratch dropped_{memory_}, shares_{memory_}, votes_{memory_}, counts_{memory_};
};

}  // namespace moe::cuda
