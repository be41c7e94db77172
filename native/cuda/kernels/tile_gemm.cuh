// The product for many rows: a block multiplies one tile of rows by kTileColumns output features. Rows and packets come
// through shared memory in a ring of stages; each of the four warps sums its part in registers.
//
// A sum runs over the inputs in packets of 32, two multiplications of depth 16 each, in index order, whatever the
// height of the tile: a row's result does not depend on the rows beside it.
#pragma once
#include "cuda/kernels/store.cuh"

namespace moe::cuda {

constexpr int kTileBlocks = kTileColumns / kPacketColumns;  // of features

template <class Weights>
struct TileShape {
  static constexpr int kMaxHeight = tile_sizes(Weights::kBytes).height;
  static constexpr int kRowBytes = kPacketDepth * 2;  // of a stage, per plane
  static constexpr int kStageRows = Weights::kPlanes * kMaxHeight * kRowBytes;
  static constexpr int kStageBytes = kStageRows + kTileBlocks * Weights::kBytes;
  static constexpr int kStages = tile_sizes(Weights::kBytes).stages;
  static constexpr int kSharedBytes = kStages * kStageBytes;
};

extern __shared__ __align__(16) uint8_t tile_memory[];

// One tile of at most kHeight rows. Uniform over the block.
template <class Weights, int kHeight, bool kUp>
__device__ __forceinline__ void multiply_tile(const GemmTask& task, const Tile& tile, int first_block,
                                              uint32_t shared) {
  using Shape = TileShape<Weights>;
  constexpr int kPlanes = Weights::kPlanes;
  constexpr int kWarpsDown = kHeight >= 64 ? 2 : 1, kWarpsAcross = 4 / kWarpsDown;
  constexpr int kFragments = kHeight / kWarpsDown / 16;  // of 16 rows, per warp
  constexpr int kBlocks = kTileBlocks / kWarpsAcross;    // of 16 features, per warp
  constexpr int kRowChunks = kHeight * 4;                // 16-byte pieces of a stage's rows, per plane
  constexpr int kCopies = (kRowChunks + kTileThreads - 1) / kTileThreads;
  constexpr int kPacketChunks = Weights::kBytes / 16;
  constexpr int kStages = Shape::kStages;

  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
  const int g = lane / 4, t = lane % 4;
  const int warp_row = warp % kWarpsDown * (kHeight / kWarpsDown), warp_block = warp / kWarpsDown * kBlocks;
  const int packets = task.depth / kPacketDepth;

  // Each thread copies the same piece of the same rows in every stage.
  const uint16_t* row_at[kCopies];
  bool row_exists[kCopies];
#pragma unroll
  for (int i = 0; i < kCopies; ++i) {
    const int chunk = thread + i * kTileThreads, row = chunk / 4;
    row_exists[i] = row < tile.rows;
    int64_t source = row_exists[i] ? tile.first_row + row : tile.first_row;
    if (task.slot_of_row) source = task.slot_of_row[source] / task.fan_out;
    row_at[i] = task.input + source * task.depth + chunk % 4 * 8;
  }
  const uint8_t* const weights =
      task.weights + (static_cast<int64_t>(tile.expert) * task.column_blocks + first_block) * packets * Weights::kBytes;

  const auto load = [&](int stage, int packet) {
    const uint32_t rows = shared + stage * Shape::kStageBytes, columns = rows + Shape::kStageRows;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int chunk = thread + i * kTileThreads;
      if (kRowChunks % kTileThreads == 0 || chunk < kRowChunks) {
#pragma unroll
        for (int plane = 0; plane < kPlanes; ++plane)
          copy_async(rows + plane * kHeight * Shape::kRowBytes + chunk * 16,
                     row_at[i] + plane * task.input_plane + packet * kPacketDepth, row_exists[i]);
      }
    }
#pragma unroll
    for (int chunk = thread; chunk < kTileBlocks * kPacketChunks; chunk += kTileThreads) {
      const int block = chunk / kPacketChunks, piece = chunk % kPacketChunks;
      const bool exists = first_block + block < task.column_blocks;
      copy_async(columns + chunk * 16,
                 weights + (static_cast<int64_t>(exists ? block : 0) * packets + packet) * Weights::kBytes + piece * 16,
                 exists);
    }
  };

  float sums[kFragments][kBlocks][2][4] = {};
#pragma unroll 1
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < packets) load(stage, stage);
    commit_copies();
  }
  int stage = 0;
  for (int packet = 0; packet < packets; ++packet) {
    wait_copies<kStages - 2>();
    __syncthreads();  // the packet is here for all, and the stage read one round ago is free
    if (const int next = packet + kStages - 1; next < packets) load(stage == 0 ? kStages - 1 : stage - 1, next);
    commit_copies();

    const uint32_t rows = shared + stage * Shape::kStageBytes, columns = rows + Shape::kStageRows;
    Wide left[2][kFragments][kPlanes];
#pragma unroll
    for (int f = 0; f < kFragments; ++f)
#pragma unroll
      for (int plane = 0; plane < kPlanes; ++plane) {
        const uint32_t at = rows + (plane * kHeight + warp_row + f * 16 + g) * Shape::kRowBytes + t * 16;
        const uint4 upper = load_shared(at), lower = load_shared(at + 8 * Shape::kRowBytes);
        left[0][f][plane] = {upper.x, lower.x, upper.y, lower.y};
        left[1][f][plane] = {upper.z, lower.z, upper.w, lower.w};
      }
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      const typename Weights::Part part = Weights::load_shared(columns + (warp_block + b) * Weights::kBytes, lane);
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        const typename Weights::Operands both = Weights::operands(part, step);
        Narrow first[kPlanes], second[kPlanes];
#pragma unroll
        for (int plane = 0; plane < kPlanes; ++plane) {
          first[plane] = {both.plane[plane].x, both.plane[plane].z};
          second[plane] = {both.plane[plane].y, both.plane[plane].w};
        }
#pragma unroll
        for (int f = 0; f < kFragments; ++f) {
          multiply_planes<Weights>(sums[f][b][0], left[step][f], first);
          multiply_planes<Weights>(sums[f][b][1], left[step][f], second);
        }
      }
    }
    stage = stage == kStages - 1 ? 0 : stage + 1;
  }
  wait_copies<0>();

  using Functions = FunctionsOf<Weights>;
  const auto store = [&](const auto& put) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      const int block = first_block + warp_block + b;
      if (block >= task.column_blocks) continue;
      const float2 bias = bias_of(task, tile.expert, block, 2 * t, 2 * t + 1);
      const float2 bias8 = bias_of(task, tile.expert, block, 8 + 2 * t, 9 + 2 * t);
#pragma unroll
      for (int f = 0; f < kFragments; ++f)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = warp_row + f * 16 + half * 8 + g;
          if (row >= tile.rows) continue;
          const float* const left = sums[f][b][0] + 2 * half;
          const float* const right = sums[f][b][1] + 2 * half;
          put((static_cast<int64_t>(tile.first_row) + row) * task.output_stride, block, left[0] + bias.x,
              left[1] + bias.y, right[0] + bias8.x, right[1] + bias8.y);
        }
    }
  };
  // The usual cases store from registers: two neighbouring columns at a time.
  if (!kUp && task.columns % 2 == 0) {
    store([&](int64_t at, int block, float low, float high, float low8, float high8) {
      float* const to = static_cast<float*>(task.output) + at + block * kPacketColumns + 2 * t;
      const int left = task.columns - block * kPacketColumns - 2 * t;
      if (left > 0) *reinterpret_cast<float2*>(to) = {low, high};
      if (left > 8) *reinterpret_cast<float2*>(to + 8) = {low8, high8};
    });
    return;
  }
  if (kUp && task.activation == static_cast<int32_t>(DeviceActivation::kSwiGLU)) {
    store([&](int64_t at, int block, float gate, float gate_high, float up, float up_high) {
      store_rounded<Weights>(task, at + block * 8 + 2 * t, swiglu<Functions>(gate, up),
                             swiglu<Functions>(gate_high, up_high));
    });
    return;
  }

  // The others go through shared memory, so that their code is here once.
  constexpr int kRowFloats = kTileColumns + 4;  // neighbouring rows in other banks
  static_assert(kHeight * kRowFloats * 4 <= Shape::kSharedBytes);
  float* const staged = reinterpret_cast<float*>(tile_memory);
  __syncthreads();  // the ring has been read by all
#pragma unroll
  for (int b = 0; b < kBlocks; ++b)
#pragma unroll
    for (int f = 0; f < kFragments; ++f)
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int side = 0; side < 2; ++side) {
          const int row = warp_row + f * 16 + half * 8 + g, column = (warp_block + b) * 16 + side * 8 + 2 * t;
          *reinterpret_cast<float2*>(staged + row * kRowFloats + column) = {sums[f][b][side][2 * half],
                                                                            sums[f][b][side][2 * half + 1]};
        }
  __syncthreads();
  const bool gated = kUp && has_gate(task.activation);
  const int per_block = gated ? kPacketColumns / 2 : kPacketColumns, columns = kTileBlocks * per_block;
  for (int i = thread; i < tile.rows * columns; i += kTileThreads) {
    const int row = i / columns, block = i % columns / per_block, column = i % per_block;
    if (first_block + block >= task.column_blocks) continue;
    const float* const at = staged + row * kRowFloats + block * kPacketColumns + column;
    const float2 bias = bias_of(task, tile.expert, first_block + block, column, column + 8 * gated);
    const int64_t output_row = (static_cast<int64_t>(tile.first_row) + row) * task.output_stride;
    const int output_column = (first_block + block) * per_block + column;
    const float first = at[0] + bias.x, up = gated ? at[8] + bias.y : first;
    if (kUp)
      store_rounded<Weights>(task, output_row + output_column, activate<Functions>(task.activation, first, up));
    else if (output_column < task.columns)
      static_cast<float*>(task.output)[output_row + output_column] = first;
  }
}

// Blocks are numbered group of tiles by group, features by features, tiles last, so that neighbours share weights.
template <class Weights, bool kUp>
__device__ __forceinline__ void tile_gemm(const GemmTask& task) {
  const int across = (task.column_blocks + kTileBlocks - 1) / kTileBlocks;
  const int64_t job = blockIdx.x;
  if (job >= static_cast<int64_t>(*task.tile_count) * across) return;

  const Tile& first = task.tiles[job / across];
  const int in_group = static_cast<int>(job - static_cast<int64_t>(first.group_first) * across);
  const Tile tile = task.tiles[first.group_first + in_group % first.group_tiles];
  const int first_block = in_group / first.group_tiles * kTileBlocks;

  const auto shared = static_cast<uint32_t>(__cvta_generic_to_shared(tile_memory));
  if constexpr (TileShape<Weights>::kMaxHeight >= 128)
    if (tile.rows > 64) return multiply_tile<Weights, 128, kUp>(task, tile, first_block, shared);
  if (tile.rows > 32) return multiply_tile<Weights, 64, kUp>(task, tile, first_block, shared);
  if (tile.rows > 16) return multiply_tile<Weights, 32, kUp>(task, tile, first_block, shared);
  multiply_tile<Weights, 16, kUp>(task, tile, first_block, shared);
}

}  // namespace moe::cuda
