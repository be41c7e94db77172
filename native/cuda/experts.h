// Dispatch and the experts' products on the device.
#pragma once
#include "cuda/kernel_shapes.h"
#include "cuda/launch_queue.h"
#include "cuda/layer.h"
#include "cuda/memory.h"

namespace moe::cuda {

// A plan in the memory of the device, and where rows are cut into tiles.
struct PlanBuffers {
  explicit PlanBuffers(QueuedMemory& memory)
      : slot_of_row(memory), row_of_slot(memory), offsets(memory), choices(memory), tiles(memory), tile_count(memory) {}
  Scratch slot_of_row;  // [slots], the first offsets[experts] are filled
  Scratch row_of_slot;  // [slots], -1 where the slot was dropped
  Scratch offsets;      // [experts + 1]; expert e owns rows [offsets[e], offsets[e + 1])
  Scratch choices;      // [slots], where they came from the host
  Scratch tiles, tile_count;
  int tile_height = 0;  // what the rows are cut to; 0: they are not
};

// Which rows belong to which expert.
struct ExpertRows {
  PlanBuffers& plan;
  bool all;      // one expert has all rows, and row r is input row r: the plan has tiles only
  int64_t rows;  // at most
  int32_t fan_out;
};

class ExpertsStage {
 public:
  ExpertsStage(LaunchQueue& queue, QueuedMemory& memory) : queue_(queue), memory_(memory) {}

  // choices [slots] on the device, at least one. Cuts the tiles, too, where the products of so few tokens will need the
  // same ones.
  void plan(const int32_t* choices, int64_t slots, int32_t num_experts, int32_t fan_out, PlanBuffers& out);
  // out[r] = down(activation(up(hidden of r))), [rows, H]. At least one row.
  void run(const CudaExperts& experts, Matrix hidden, const ExpertRows& rows, float* out);
  // out = in * W^T, [rows, out_features]. At least one row. `tiles` is the plan of a product whose rows are all of one
  // matrix.
  void linear(const CudaLinear& linear, Matrix in, PlanBuffers& tiles, float* out);

 private:
  // How so many tokens are multiplied.
  struct Way {
    GemmShape shape;
    Kernel<GemmTask> GemmKernels::*kernel;
  };
  static Way way_of(WeightType type, int64_t tokens);
  // The rows as tiles of that height, and a task that says so.
  GemmTask cut_tiles(const ExpertRows& rows, int32_t experts, const GemmShape& shape);
  const uint16_t* round(WeightType type, Matrix hidden, int64_t padded_columns);
  void multiply(const PackedProduct& product, const Kernel<GemmTask>& kernel, const GemmShape& shape,
                int64_t most_tiles, GemmTask task);

  LaunchQueue& queue_;
  QueuedMemory& memory_;
  Scratch counts_{memory_}, rounded_{memory_}, intermediate_{memory_};
};

}  // namespace moe::cuda
