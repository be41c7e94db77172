// The routing of a batch on the device: the router's product, the choice, capacity, losses and totals.
#pragma once
#include "core/device.h"
#include "core/routing/router_capacity.h"
#include "cuda/layer.h"
#include "cuda/launch_queue.h"
#include "cuda/memory.h"

namespace moe::cuda {

class RouteStage {
 public:
  explicit RouteStage(LaunchQueue& queue) : queue_(queue) {}

  // At least one token.
  void run(const CudaLayer& layer, Matrix hidden, const Routing& out);
  // logits[t] = router . hidden[t], for one router [H].
  const float* shared_logits(const CudaLayer& layer, Matrix hidden);

 private:
  void route_to_only_expert(Matrix hidden, const Routing& out);
  void multiply(const RouterTask& task);
  void place(const CudaLayer& layer, ChooseTask& choose, const Routing& out);
  void total(const CudaLayer& layer, const ChooseTask& choose, const PlaceTask& place, const Routing& out);
  template <class T>
  T* reserve(Scratch& scratch, size_t count) {
    return scratch.reserve<T>(count, [this] { queue_.start(false); });
  }

  LaunchQueue& queue_;
  Scratch logits_, shared_logits_, scores_, reciprocals_, score_sums_, squares_, choices_, gates_, loss_choices_;
  Scratch kept_, load_, dropped_, shares_, votes_, counts_;
};

}  // namespace moe::cuda
