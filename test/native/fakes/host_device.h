// A device made of plain loops over host memory, for tests of everything that drives a device.
#pragma once
#include "core/device.h"

namespace moe::test {

class HostDevice : public Device {
 public:
  void* allocate(size_t bytes) override;
  void deallocate(void* memory) noexcept override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  std::unique_ptr<PreparedLayer> prepare(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                         const std::stop_token& stop) override;
  void route(const PreparedLayer& layer, Matrix hidden, const Routing& out) override;
  void plan(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) override;
  void run_experts(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out,
                   const std::stop_token& stop) override;
  void run_shared(const PreparedLayer& layer, Matrix hidden, Matrix out, const std::stop_token& stop) override;
  void combine(const PreparedLayer& layer, Matrix rows, const Routing& routing, const DispatchPlan& plan, Matrix shared,
               Matrix out) override;
  void gather(Matrix in, const int32_t* index, Matrix out) override;
  void run_up(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix intermediate,
              const std::stop_token& stop) override;
  void run_down(const PreparedLayer& layer, Matrix intermediate, const DispatchPlan& plan, Matrix out,
                const std::stop_token& stop) override;
  void synchronize() override {}
};

}  // namespace moe::test
