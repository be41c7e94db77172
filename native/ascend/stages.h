// The stages of a layer on an NPU.
#pragma once
#include <memory>

#include "ascend/experts.h"
#include "ascend/route.h"

namespace moe::ascend {

// What waits is `route`, `plan` or `run` where the host has to look at tokens or choices. Where choices stay on the
// device, rows are sorted by `run`, not by `plan`.
class AscendStages final : public MoeStages {
 public:
  AscendStages(Npu& npu, OperatorQueue& queue, HostLink& link);

  std::string packed_layout(const LayerSpec&) const override { return {}; }
  std::unique_ptr<PreparedRouter> prepare_router(const LayerSpec& spec, const LayerWeights& host) override;
  std::unique_ptr<PreparedExperts> prepare_experts(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                   const std::stop_token& stop) override;
  std::unique_ptr<PreparedExperts> prepare_shared(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                  const std::stop_token& stop) override;

  std::unique_ptr<Routing> route(const PreparedRouter& router, const Tokens& tokens, const RoutingArrays& out) override;
  std::unique_ptr<Plan> plan(const Routing& routing) override;
  std::unique_ptr<Plan> plan(std::span<const int32_t> choices, int32_t num_experts, int32_t fan_out) override;
  std::unique_ptr<Routing> weigh(const PreparedExperts& experts, const Routing& routing, Matrix hidden, Matrix rows,
                                 float* ones) override;
  void run(const PreparedExperts& experts, Matrix hidden, const Plan& plan, Matrix out,
           const std::stop_token& stop) override;
  void run_shared(const PreparedExperts& shared, const Tokens& tokens, Matrix out,
                  const std::stop_token& stop) override;
  void add_identities(const PreparedExperts& experts, const Routing& routing, Matrix hidden, float shared_scale,
                      Matrix always) override;
  void combine(const PreparedExperts& experts, Matrix rows, const Routing& routing, const Plan& plan, Matrix shared,
               Matrix out) override;
  ColumnStages* columns() override { return nullptr; }

 private:
  // Rows that fit the workspace at a time.
  int64_t rows_at_once(const AscendExperts& experts) const;
  void run_sorted_by_device(const AscendExperts& experts, Matrix hidden, const AscendPlan& plan, Matrix out);
  void run_sorted_by_host(const AscendExperts& experts, Matrix hidden, HostPlan& plan, Matrix out,
                          const std::stop_token& stop);
  // The row of each slot, as `combine` is to read it. Where a slot has no row, that is a row of zeros behind the
  // others.
  Array row_of_slot(Matrix rows, const AscendPlan& plan);
  // sigmoid(gate . x), [tokens, 1] on the device.
  Array shared_gates(const AscendExperts& shared, const Tokens& tokens);

  Npu& npu_;
  OperatorQueue& queue_;
  HostLink& link_;
  DeviceSort sort_;
  RouteStage route_;
  ExpertStage experts_;
  Pool<HostPlan> plans_;
  DeviceScratch gathered_, counts_, ungated_, gates_, padded_, sums_, factors_, scaled_, tokens_of_slots_;
  size_t workspace_bytes_;
};

}  // namespace moe::ascend
