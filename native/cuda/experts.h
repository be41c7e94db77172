// Dispatch and the experts' products on the device.
#pragma once
#include "core/device.h"
#include "cuda/layer.h"
#include "cuda/kernel_shapes.h"
#include "cuda/launch_queue.h"
#include "cuda/memory.h"

namespace moe::cuda {

// Which rows belong to which expert.
struct ExpertRows {
  const int32_t* offsets;      // [experts + 1]; null: one expert has all rows
  const int32_t* slot_of_row;  // null: row r is input row r
  int64_t rows;                // at most
  int32_t fan_out;
};

class ExpertsStage {
 public:
  explicit ExpertsStage(LaunchQueue& queue) : queue_(queue) {}

  // At least one slot. Cuts the tiles, too, where the products of so few tokens will need the same ones.
  void plan(const int32_t* experts, int32_t num_experts, const DispatchPlan& out);
  // out[r] = down(activation(up(hidden of r))), [rows, H]. At least one row.
  void run(const LayerSpec& spec, const PackedExperts& experts, Matrix hidden, const ExpertRows& rows, float* out);

  // The tiles were cut for offsets that may change before they are used.
  void forget_tiles() { cut_for_ = {}; }

 private:
  // What tiles_ holds.
  struct Cut {
    const int32_t* offsets = nullptr;
    int height = 0;
    bool operator==(const Cut&) const = default;
  };

  const uint16_t* round(WeightType type, Matrix hidden, int64_t padded_columns);
  void multiply(const PackedProduct& product, const Kernel<GemmTask>& kernel, const GemmShape& shape,
                int64_t most_tiles, GemmTask task);
  Tile* reserve_tiles(int64_t rows, int32_t experts, int height);
  template <class T>
  T* reserve(Scratch& scratch, size_t count) {
    return scratch.reserve<T>(count, [this] { queue_.start(false); });
  }

  LaunchQueue& queue_;
  Scratch counts_, rounded_, intermediate_, tiles_, tile_count_;
  Cut cut_for_;
};

}  // namespace moe::cuda
