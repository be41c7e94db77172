// The MoE layer: the path of a batch through the stages of a device.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "core/device.h"
#include "core/host/device_buffer.h"
#include "core/ranks/expert_parallel.h"

namespace moe {

// Device memory for one batch. One per device: its layers run one after another and share it.
struct Workspace {
  explicit Workspace(Device& device);

  DeviceBuffer hidden, output, rows, shared;
  DeviceBuffer experts, weights, expert_load, totals;
  DeviceBuffer slot_of_row, row_of_slot, expert_offsets;
  DeviceBuffer blocks;           // of results that other ranks send
  std::vector<float> widened;    // a 16-bit batch as float32, on the host
  std::vector<int32_t> choices;  // the routing's experts, on the host
};

// A batch in host memory, [tokens, H].
struct HostBatch {
  const void* data;
  DType dtype;
  int64_t tokens;
};

// Where results go, in host memory. Null pointers are left out.
struct ForwardOutput {
  float* output = nullptr;          // [tokens, H]; null: route only
  int32_t* expert_ids = nullptr;    // [tokens, K]
  float* weights = nullptr;         // [tokens, K]
  uint32_t* expert_load = nullptr;  // [E]
  RoutingTotals* totals = nullptr;
};

class Layer {
 public:
  // Checks that the weights fit the spec (kShape names the one that does not), then packs them. With a group the
  // experts are those of the rank's set (packed weights have all of them), and every rank makes its layer and runs its
  // batches in step with the others.
  Layer(Device& device, const LayerSpec& spec, const LayerWeights& weights, Progress progress,
        const std::stop_token& stop, std::optional<ParallelOptions> parallel = {});

  // Routes the batch and, if an output is asked for, runs the experts. Blocks until the results are in place.
  void forward(Workspace& workspace, const HostBatch& batch, const ForwardOutput& out,
               const std::stop_token& stop) const;

  // Of a layer on a led group: as ExpertGroup::next_call. Of any layer on a group: its number there.
  int64_t next_call() const;
  uint32_t number_in_group() const { return parallel_ ? parallel_->number() : 0; }
  // Which way rows go between nodes in the next call. Any thread.
  ExchangePlan exchange_plan() const { return parallel_ ? parallel_->exchange_plan() : ExchangePlan::kFlat; }

  // Sums over the ranks of the group, one of each set. Every rank calls it.
  void sum_over_group(std::span<double> values) const;

  const LayerSpec& spec() const { return spec_; }
  size_t weight_bytes() const { return prepared_->weight_bytes(); }
  // Valid for as long as the layer lives; no parts where its device cannot give any.
  PackedWeights packed() const { return {device_.packed_layout(spec_), prepared_->packed_parts(), {}, {}}; }
  std::vector<std::string> notes() const { return prepared_->notes(); }

 private:
  void run(Workspace& workspace, const HostBatch& batch, const ForwardOutput& out, const std::stop_token& stop) const;
  Matrix run_on_group(Workspace& workspace, Matrix hidden, const Routing& routing, DispatchPlan& plan, Matrix& shared,
                      const std::stop_token& stop) const;
  void run_shared(Workspace& workspace, Matrix hidden, Matrix& shared, const std::stop_token& stop) const;

  Device& device_;
  LayerSpec spec_;
  std::unique_ptr<PreparedLayer> prepared_;
  std::unique_ptr<ExpertParallel> parallel_;  // null where all experts are here
};

}  // namespace moe
