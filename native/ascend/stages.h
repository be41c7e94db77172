// The stages of a layer on an NPU.
#pragma once
#include <memory>

#include "ascend/experts.h"
#include "ascend/route.h"
#include "core/device.h"

namespace moe::ascend {

// All work goes through one stream; what waits is `synchronize`, and `route` or `plan` where the host has to look at
// tokens or choices. Where choices stay on the device, rows are sorted by `run_experts`, not by `plan`, which then
// leaves slot_of_row and expert_offsets as they are.
class AscendDevice final : public Device {
 public:
  explicit AscendDevice(int index);

  void* allocate(size_t bytes) override;
  void deallocate(void* memory) noexcept override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;

  bool takes_int8_activations() const override { return true; }
  std::unique_ptr<PreparedLayer> prepare(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                         const std::stop_token& stop) override;

  void route(const PreparedLayer& layer, Matrix hidden, const Routing& out) override;
  void plan(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) override;
  void run_experts(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out,
                   const std::stop_token& stop) override;
  void run_shared(const PreparedLayer& layer, Matrix hidden, Matrix out, const std::stop_token& stop) override;
  void combine(const PreparedLayer& layer, Matrix rows, const Routing& routing, const DispatchPlan& plan, Matrix shared,
               Matrix out) override;
  std::unique_ptr<Collective> connect(Collective& host) override;
  void synchronize() override;

 private:
  // Rows that fit the workspace at a time.
  int64_t rows_at_once(const AscendLayer& layer, const Experts& experts) const;
  void run_sorted_by_device(const AscendLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out);
  // Whether `plan` is the one that the last call of `plan` made, and still is.
  bool is_planned(const DispatchPlan& plan) const { return planned_ == plan.row_of_slot; }
  void run_sorted_by_host(const AscendLayer& layer, Matrix hidden, Matrix out, const std::stop_token& stop);
  // What `combine` is to read: the rows, and for each slot the number of one of them. Where a slot has no row, that is
  // a row of zeros behind the others.
  struct CombinedRows {
    Array rows, row_of_slot;
  };
  CombinedRows combined_rows(Matrix rows, const DispatchPlan& plan);
  // sigmoid(router . x), [tokens, 1] on the device.
  Array shared_gates(const AscendLayer& layer, Matrix hidden);

  Npu device_;
  OperatorQueue queue_;
  HostLink link_;
  DeviceSort sort_;
  RouteStage route_;
  ExpertStage experts_;
  HostPlan plan_;
  DeviceScratch gathered_, counts_, ungated_, gates_, padded_, sums_, completed_;
  size_t workspace_bytes_;
  const AscendLayer* routed_ = nullptr;  // the layer that routed last
  bool sorted_by_device_ = false;        // what is planned
  const int32_t* planned_ = nullptr;     // the row_of_slot of that plan
};

}  // namespace moe::ascend
