#include "cuda/experts.h"

#include <algorithm>

#include "core/error.h"

namespace moe::cuda {
namespace {

unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

// With so few tokens an expert has no more rows than one tile holds, and reading weights is what takes the time.
bool is_few(int64_t tokens) { return tokens <= kFewShape.height; }
bool is_several(int64_t tokens) { return tokens <= kSeveralShape.height; }

// Of any split of the rows over the experts.
int64_t max_tiles(int64_t rows, int32_t experts, int height) {
  return rows / height + std::min<int64_t>(experts, rows);
}

DeviceActivation kind_of(const Activation& activation) {
  switch (activation.kind) {
    case Activation::kSwiGLU:
    case Activation::kSwiGLUOai:
      return activation.is_plain_swiglu() ? DeviceActivation::kSwiGLU : DeviceActivation::kClampedSwiGLU;
    case Activation::kGeGLU:
      return DeviceActivation::kGeGLU;
    case Activation::kGeGLUTanh:
      return DeviceActivation::kGeGLUTanh;
    case Activation::kGELU:
      return DeviceActivation::kGELU;
    case Activation::kGELUTanh:
      return DeviceActivation::kGELUTanh;
    case Activation::kReLU:
      return DeviceActivation::kReLU;
    case Activation::kReLU2:
      return DeviceActivation::kReLU2;
    case Activation::kSiLU:
      return DeviceActivation::kSiLU;
  }
  throw Error(ErrorCode::kInternal, "Expected a known activation");
}

ClampedSwiGLU clamped_by(const Activation& activation) {
  const SwiGLUNumbers by = activation.swiglu_numbers();
  return {by.alpha, by.lowest_gate, by.most_gate, by.most_product, by.most_up, by.up_shift};
}

}  // namespace

void ExpertsStage::plan(const int32_t* choices, int64_t slots, int32_t num_experts, int32_t fan_out, PlanBuffers& out) {
  PlanTask task{};
  task.experts = choices;
  task.slot_of_row = out.slot_of_row.reserve<int32_t>(slots);
  task.row_of_slot = out.row_of_slot.reserve<int32_t>(slots);
  task.expert_offsets = out.offsets.reserve<int32_t>(num_experts + 1);
  task.slots = slots;
  task.num_experts = num_experts;
  task.chunks = static_cast<int32_t>(blocks_for(slots, kPlanChunk));
  const size_t shared_bytes = plan_shared_bytes(num_experts);
  out.tile_height = 0;
  if (task.chunks == 1) {
    if (const int64_t tokens = slots / fan_out; is_several(tokens)) {
      task.tile_height = is_few(tokens) ? kFewShape.height : kSeveralShape.height;
      task.tiles = out.tiles.reserve<Tile>(max_tiles(slots, num_experts, task.tile_height));
      task.tile_count = out.tile_count.reserve<int32_t>(1);
      out.tile_height = task.tile_height;
    }
    return queue_.add(kernels::moe_plan_small, {1, kPlanChunk, shared_bytes}, task);
  }
  task.counts = counts_.reserve<int32_t>(static_cast<size_t>(task.chunks) * num_experts);
  const auto chunks = static_cast<unsigned>(task.chunks);
  queue_.add(kernels::moe_plan_count, {chunks, kPlanChunk, shared_bytes}, task);
  queue_.add(kernels::moe_plan_scan, {1, kPlanChunk}, task);
  queue_.add(kernels::moe_plan_place, {chunks, kPlanChunk, shared_bytes}, task);
}

ExpertsStage::Way ExpertsStage::way_of(WeightType type, int64_t tokens) {
  if (is_few(tokens)) return {kFewShape, &GemmKernels::few};
  if (is_several(tokens)) return {kSeveralShape, &GemmKernels::several};
  return {tile_shape(type), &GemmKernels::tile};
}

GemmTask ExpertsStage::cut_tiles(const ExpertRows& rows, int32_t experts, const GemmShape& shape) {
  PlanBuffers& plan = rows.plan;
  GemmTask task{};
  Tile* const tiles = plan.tiles.reserve<Tile>(max_tiles(rows.rows, experts, shape.height));
  auto* const tile_count = plan.tile_count.reserve<int32_t>(1);
  if (plan.tile_height != shape.height)
    queue_.add(kernels::moe_cut_tiles, {1, kMaxExperts},
               TileTask{rows.all ? nullptr : plan.offsets.reserve<int32_t>(0), tiles, tile_count, experts,
                        static_cast<int32_t>(rows.rows), shape.height, 0});
  plan.tile_height = rows.all ? 0 : shape.height;
  task.tiles = tiles;
  task.tile_count = tile_count;
  return task;
}

void ExpertsStage::run(const CudaExperts& experts, Matrix hidden, const ExpertRows& rows, float* out) {
  const WeightType type = experts.type;
  const auto [shape, kernel] = way_of(type, hidden.rows);
  const PacketLayout &up = experts.up.layout, &down = experts.down.layout;
  const int64_t most_tiles = max_tiles(rows.rows, experts.count, shape.height);
  auto* const intermediate = intermediate_.reserve<uint16_t>(planes_of(type) * rows.rows * down.padded_depth());

  GemmTask task = cut_tiles(rows, experts.count, shape);
  task.activation = static_cast<int32_t>(kind_of(experts.activation));
  task.clamped = clamped_by(experts.activation);
  if (is_few(hidden.rows))
    task.hidden = hidden.floats();
  else
    task.input = round(type, hidden, up.padded_depth());
  task.hidden_size = static_cast<int32_t>(hidden.cols);
  task.input_plane = hidden.rows * up.padded_depth();
  task.slot_of_row = rows.all ? nullptr : rows.plan.slot_of_row.reserve<int32_t>(0);
  task.fan_out = rows.fan_out;
  task.output = intermediate;
  task.output_plane = rows.rows * down.padded_depth();
  task.output_stride = down.padded_depth();
  multiply(experts.up, up_kernels(type).*kernel, shape, most_tiles, task);

  task.input = intermediate;
  task.input_plane = task.output_plane;
  task.slot_of_row = nullptr;
  task.output = out;
  task.output_stride = down.columns;
  multiply(experts.down, down_kernels(type).*kernel, shape, most_tiles, task);
}

void ExpertsStage::linear(const CudaLinear& linear, Matrix in, PlanBuffers& tiles, float* out) {
  const PacketLayout& layout = linear.product.layout;
  const auto [shape, kernel] = way_of(layout.type, in.rows);
  GemmTask task = cut_tiles({tiles, true, in.rows, 1}, 1, shape);
  task.input = round(layout.type, in, layout.padded_depth());
  task.input_plane = in.rows * layout.padded_depth();
  task.fan_out = 1;
  task.output = out;
  task.output_stride = layout.columns;
  multiply(linear.product, down_kernels(layout.type).*kernel, shape, max_tiles(in.rows, 1, shape.height), task);
}

const uint16_t* ExpertsStage::round(WeightType type, Matrix hidden, int64_t padded_columns) {
  RoundTask task{};
  task.from = hidden.floats();
  task.to = rounded_.reserve<uint16_t>(planes_of(type) * hidden.rows * padded_columns);
  task.rows = hidden.rows;
  task.columns = static_cast<int32_t>(hidden.cols);
  task.padded_columns = static_cast<int32_t>(padded_columns);
  const auto& kernel = type == WeightType::kFloat32   ? kernels::moe_round_split
                       : type == WeightType::kFloat16 ? kernels::moe_round_float16
                                                      : kernels::moe_round_bfloat16;
  queue_.add(kernel, {static_cast<unsigned>(hidden.rows), 256}, task);
  return task.to;
}

void ExpertsStage::multiply(const PackedProduct& product, const Kernel<GemmTask>& kernel, const GemmShape& shape,
                            int64_t most_tiles, GemmTask task) {
  const PacketLayout& layout = product.layout;
  task.weights = product.packets.as<uint8_t>();
  task.bias = product.biases.bytes() > 0 ? product.biases.as<float>() : nullptr;
  task.depth = static_cast<int32_t>(layout.padded_depth());
  task.column_blocks = static_cast<int32_t>(layout.blocks());
  task.columns = static_cast<int32_t>(layout.columns);
  const unsigned across = blocks_for(layout.blocks(), shape.column_blocks);
  const auto tiles = static_cast<unsigned>(most_tiles);
  const dim3 grid = shape.shared_bytes > 0 ? dim3(across * tiles) : dim3(across, tiles);
  queue_.add(kernel, {grid, static_cast<unsigned>(shape.threads), shape.shared_bytes}, task);
}

}  // namespace moe::cuda
