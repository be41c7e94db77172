// The MoE layer: the path of a batch through the stages of a device.
#pragma once
#include <memory>
#include <span>
#include <stop_token>
#include <vector>

#include "core/backend.h"
#include "core/device_buffer.h"

namespace moe {

// Device memory for one batch. One per device: its layers run one after another and share it.
struct Workspace {
  explicit Workspace(Backend& backend);

  DeviceBuffer hidden, output, rows, shared;
  DeviceBuffer experts, weights, expert_load, totals;
  DeviceBuffer slot_of_row, row_of_slot, expert_offsets;
  std::vector<float> widened;  // a 16-bit batch as float32, on the host
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
  // Checks that the weights fit the spec (kShape names the one that does not), then packs them.
  Layer(Backend& backend, const LayerSpec& spec, const LayerWeights& weights, Progress progress,
        const std::stop_token& stop);

  // Routes the batch and, if an output is asked for, runs the experts. Blocks until the results are in place.
  void forward(Workspace& workspace, const HostBatch& batch, const ForwardOutput& out,
               const std::stop_token& stop) const;

  const LayerSpec& spec() const { return spec_; }
  size_t weight_bytes() const { return prepared_->weight_bytes(); }

 private:
  Backend& backend_;
  LayerSpec spec_;
  std::unique_ptr<PreparedLayer> prepared_;
};

}  // namespace moe
