// The product for few rows, where reading the weights is what takes the time: a warp multiplies 16 output features by
// at most 8 * kColumns rows. Operands are swapped: features are the 16 rows of a multiplication and rows its 8 columns,
// so that little is multiplied in vain. Packets go from memory to registers, several of them on their way at once.
//
// A sum adds the same products in the same order as in tile_gemm.cuh.
#pragma once
#include "cuda/kernels/store.cuh"

namespace moe::cuda {

constexpr int kFewThreads = 128;
constexpr int kFewBlocks = kFewThreads / kWarp;  // of features, of a block of threads

template <class Weights, bool kUp, int kColumns>
__device__ __forceinline__ void few_gemm(const GemmTask& task) {
  using Functions = FunctionsOf<Weights>;
  constexpr int kPlanes = Weights::kPlanes;
  constexpr int kAhead = Weights::kBytes >= 2048 ? 4 : 8;  // packets on their way
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int block = blockIdx.x * kFewBlocks + threadIdx.x / kWarp;
  if (blockIdx.y >= *task.tile_count || block >= task.column_blocks) return;
  const Tile tile = task.tiles[blockIdx.y];
  const int packets = task.depth / kPacketDepth;
  const uint8_t* const weights =
      task.weights + (static_cast<int64_t>(tile.expert) * task.column_blocks + block) * packets * Weights::kBytes;

  const uint16_t* row_at[kColumns];
  bool row_exists[kColumns];
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const int row = c * 8 + g;
    row_exists[c] = row < tile.rows;
    int64_t source = row_exists[c] ? tile.first_row + row : tile.first_row;
    if (task.slot_of_row) source = task.slot_of_row[source] / task.fan_out;
    row_at[c] = task.input + source * task.depth + t * 8;
  }

  float sums[kColumns][4] = {};
  const auto multiply = [&](const typename Weights::Part& part, int packet) {
    uint4 rows[kColumns][kPlanes];
#pragma unroll
    for (int c = 0; c < kColumns; ++c)
#pragma unroll
      for (int plane = 0; plane < kPlanes; ++plane) {
        rows[c][plane] = {0, 0, 0, 0};
        if (row_exists[c])
          rows[c][plane] =
              *reinterpret_cast<const uint4*>(row_at[c] + plane * task.input_plane + packet * kPacketDepth);
      }
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const typename Weights::Operands left = Weights::operands(part, step);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        Narrow right[kPlanes];
#pragma unroll
        for (int plane = 0; plane < kPlanes; ++plane)
          right[plane] =
              step == 0 ? Narrow{rows[c][plane].x, rows[c][plane].y} : Narrow{rows[c][plane].z, rows[c][plane].w};
        multiply_planes<Weights>(sums[c], right, left.plane);
      }
    }
  };

  typename Weights::Part parts[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i)
    if (i < packets) parts[i] = Weights::load_global(weights + i * Weights::kBytes, lane);
  int packet = 0;
  for (; packet + kAhead <= packets; packet += kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const typename Weights::Part part = parts[i];
      const int next = packet + kAhead + i;
      if (next < packets) parts[i] = Weights::load_global(weights + static_cast<int64_t>(next) * Weights::kBytes, lane);
      multiply(part, packet + i);
    }
  }
#pragma unroll
  for (int i = 0; i < kAhead; ++i)
    if (packet + i < packets) multiply(parts[i], packet + i);

  const float2 bias = bias_of(task, tile.expert, block, g, g + 8);
#pragma unroll
  for (int c = 0; c < kColumns; ++c)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = c * 8 + 2 * t + i;
      if (row >= tile.rows) continue;
      const int64_t at = (static_cast<int64_t>(tile.first_row) + row) * task.output_stride;
      const float sum = sums[c][i] + bias.x, sum8 = sums[c][2 + i] + bias.y;
      if constexpr (!kUp) {
        float* const to = static_cast<float*>(task.output) + at + block * 16 + g;
        if (block * 16 + g < task.columns) to[0] = sum;
        if (block * 16 + 8 + g < task.columns) to[8] = sum8;
      } else if (has_gate(task.activation)) {
        store_rounded<Weights>(task, at + block * 8 + g, activate<Functions>(task.activation, sum, sum8));
      } else {
        store_rounded<Weights>(task, at + block * 16 + g, activate<Functions>(task.activation, 0.0f, sum));
        store_rounded<Weights>(task, at + block * 16 + 8 + g, activate<Functions>(task.activation, 0.0f, sum8));
      }
    }
}

}  // namespace moe::cuda
