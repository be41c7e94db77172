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
  static constexpr int kStages = tile_sizes(Weights::kBytes).stages;
  static constexpr int kPackets = tile_sizes(Weights::kBytes).packets;  // of a stage
  static constexpr int kRowBytes = kPacketDepth * 2;                    // of a packet, per plane
  static constexpr int kRowsBytes = Weights::kPlanes * kMaxHeight * kRowBytes;
  static constexpr int kPacketBytes = kRowsBytes + kTileBlocks * Weights::kBytes;
  static constexpr int kStageBytes = kPackets * kPacketBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
};

extern __shared__ __align__(128) uint8_t tile_memory[];

// All fragments of rows times one block of 16 features, into sums[..][b].
template <class Weights, int kFragments, int kBlocks>
__device__ __forceinline__ void multiply_block(float (&sums)[kFragments][kBlocks][2][4], int b,
                                               const Wide (&left)[kFragments][Weights::kPlanes],
                                               const typename Weights::Operands& right) {
  Narrow first[Weights::kPlanes], second[Weights::kPlanes];
#pragma unroll
  for (int plane = 0; plane < Weights::kPlanes; ++plane) {
    first[plane] = {right.plane[plane].x, right.plane[plane].y};
    second[plane] = {right.plane[plane].z, right.plane[plane].w};
  }
#pragma unroll
  for (int f = 0; f < kFragments; ++f) {
    multiply_planes<Weights>(sums[f][b][0], left[f], first);
    multiply_planes<Weights>(sums[f][b][1], left[f], second);
  }
}

// Calls body(Number<i>()) for i in [0, count): offsets that are part of an instruction must be constants.
template <int value>
struct Number {
  static constexpr int kValue = value;
};
template <int count, int i = 0, class Body>
__device__ __forceinline__ void repeat(const Body& body) {
  if constexpr (i < count) {
    body(Number<i>());
    repeat<count, i + 1>(body);
  }
}

// Where a row's 16-byte piece of a packet stands among the rows of a stage. Pieces change places from two rows to the
// next two: the eight rows of a matrix are then in different banks.
__device__ __forceinline__ uint32_t piece_offset(int row, int piece) {
  return row * (kPacketDepth * 2) + (piece ^ (row / 2 % 4)) * 16;
}

// What a thread copies of every packet of depth: always the same 16-byte pieces of the same rows and features. Rows and
// features that do not exist are copies of others: what comes of them is not stored.
template <class Weights, int kHeight>
struct TileCopies {
  using Shape = TileShape<Weights>;
  static constexpr int kStep = kTileThreads * 16;
  static constexpr int kRowPieces = kHeight * 4, kWeightPieces = kTileBlocks * (Weights::kBytes / 16);
  static constexpr int kRowCopies = (kRowPieces + kTileThreads - 1) / kTileThreads;
  static constexpr int kWeightCopies = (kWeightPieces + kTileThreads - 1) / kTileThreads;
  static constexpr int kPlaneBytes = kHeight * Shape::kRowBytes;

  const uint16_t* rows[Weights::kPlanes][kRowCopies];
  const uint8_t* weights[kWeightCopies];
  uint32_t shared_rows, shared_weights;  // of the thread's first pieces in the first stage

  __device__ __forceinline__ TileCopies(const GemmTask& task, const Tile& tile, int first_block) {
    const auto shared = static_cast<uint32_t>(__cvta_generic_to_shared(tile_memory));
    shared_rows = shared + piece_offset(threadIdx.x / 4, threadIdx.x % 4);
    shared_weights = shared + Shape::kRowsBytes + threadIdx.x * 16;
#pragma unroll
    for (int i = 0; i < kRowCopies; ++i) {
      const int piece = threadIdx.x + i * kTileThreads, row = piece / 4;
      int64_t source = tile.first_row + (row < tile.rows ? row : 0);
      if (task.slot_of_row) source = task.slot_of_row[source] / task.fan_out;
#pragma unroll
      for (int plane = 0; plane < Weights::kPlanes; ++plane)
        rows[plane][i] = task.input + plane * task.input_plane + source * task.depth + piece % 4 * 8;
    }
    const int packets = task.depth / kPacketDepth, last = task.column_blocks - 1;
#pragma unroll
    for (int i = 0; i < kWeightCopies; ++i) {
      const int piece = threadIdx.x + i * kTileThreads, block = first_block + piece / (Weights::kBytes / 16);
      const int64_t at = static_cast<int64_t>(tile.expert) * task.column_blocks + (block < last ? block : last);
      weights[i] = task.weights + at * packets * Weights::kBytes + piece % (Weights::kBytes / 16) * 16;
    }
  }

  // The next packets, into a stage.
  __device__ __forceinline__ void start(uint32_t stage) {
#pragma unroll
    for (int packet = 0; packet < Shape::kPackets; ++packet) start_packet(stage + packet * Shape::kPacketBytes);
  }
  __device__ __forceinline__ void start_packet(uint32_t stage) {
    repeat<kRowCopies>([&](auto i) {
      constexpr int kLast = kRowPieces - i.kValue * kTileThreads;
      if (kLast < kTileThreads && static_cast<int>(threadIdx.x) >= kLast) return;
      repeat<Weights::kPlanes>([&](auto plane) {
        copy_async<plane.kValue * kPlaneBytes + i.kValue * kStep>(shared_rows + stage, rows[plane.kValue][i.kValue]);
        rows[plane.kValue][i.kValue] += kPacketDepth;
      });
    });
    repeat<kWeightCopies>([&](auto i) {
      constexpr int kLast = kWeightPieces - i.kValue * kTileThreads;
      if (kLast < kTileThreads && static_cast<int>(threadIdx.x) >= kLast) return;
      copy_async<i.kValue * kStep>(shared_weights + stage, weights[i.kValue]);
      weights[i.kValue] += Weights::kBytes;
    });
  }
};

// One tile of at most kHeight rows. Uniform over the block.
template <class Weights, int kHeight, bool kUp>
__device__ __forceinline__ void multiply_tile(const GemmTask& task, const Tile& tile, int first_block) {
  using Shape = TileShape<Weights>;
  constexpr int kPlanes = Weights::kPlanes;
  constexpr int kWarpsDown = kHeight >= 64 ? 2 : 1, kWarpsAcross = 4 / kWarpsDown;
  constexpr int kFragments = kHeight / kWarpsDown / 16;  // of 16 rows, per warp
  constexpr int kBlocks = kTileBlocks / kWarpsAcross;    // of 16 features, per warp
  constexpr int kStages = Shape::kStages;

  const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
  const int g = lane / 4, t = lane % 4;
  const int warp_row = warp % kWarpsDown * (kHeight / kWarpsDown), warp_block = warp / kWarpsDown * kBlocks;

  TileCopies<Weights, kHeight> copies(task, tile, first_block);
  float sums[kFragments][kBlocks][2][4] = {};
  const int rounds = task.depth / (kPacketDepth * Shape::kPackets);
#pragma unroll 1
  for (int round = 0; round < kStages - 1; ++round) {
    if (round < rounds) copies.start(round * Shape::kStageBytes);
    commit_copies();
  }
  // Where the warp reads in the first stage.
  const uint32_t first_row =
      static_cast<uint32_t>(__cvta_generic_to_shared(tile_memory)) + piece_offset(warp_row + lane % 16, lane / 16);
  const uint8_t* const first_packet = tile_memory + Shape::kRowsBytes + warp_block * Weights::kBytes;
  int read = 0, write = (kStages - 1) * Shape::kStageBytes;  // stages, as offsets
#pragma unroll 1
  for (int round = 0; round < rounds; ++round) {
    wait_copies<kStages - 2>();
    __syncthreads();  // the stage is here for all, and the one read a round ago is free
    if (round + kStages - 1 < rounds) copies.start(write);
    commit_copies();

#pragma unroll
    for (int packet = 0; packet < Shape::kPackets; ++packet) {
      // The second multiplication's pieces are two on: another bit of the address.
      const uint32_t rows[2] = {first_row + read + packet * Shape::kPacketBytes,
                                (first_row ^ 32) + read + packet * Shape::kPacketBytes};
      const uint8_t* const columns = first_packet + read + packet * Shape::kPacketBytes;
      Wide left[2][kFragments][kPlanes];
      repeat<kFragments>([&](auto f) {
        repeat<kPlanes>([&](auto plane) {
          constexpr int kOffset = (plane.kValue * kHeight + f.kValue * 16) * Shape::kRowBytes;
          left[0][f.kValue][plane.kValue] = load_matrices<kOffset>(rows[0]);
          left[1][f.kValue][plane.kValue] = load_matrices<kOffset>(rows[1]);
        });
      });
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        const typename Weights::Part part = Weights::load_shared(columns + b * Weights::kBytes, lane);
        if constexpr (kPlanes == 1) {
#pragma unroll
          for (int step = 0; step < 2; ++step)
            multiply_block<Weights>(sums, b, left[step], Weights::operands(part, step));
        } else {
          // Tensor cores cut sums off instead of rounding them: float32 results keep their digits in sums of one packet
          // each, which are then added up.
          float small[kFragments][1][2][4] = {};
#pragma unroll
          for (int step = 0; step < 2; ++step)
            multiply_block<Weights>(small, 0, left[step], Weights::operands(part, step));
#pragma unroll
          for (int f = 0; f < kFragments; ++f)
#pragma unroll
            for (int i = 0; i < 8; ++i) sums[f][b][i / 4][i % 4] += small[f][0][i / 4][i % 4];
        }
      }
    }
    write = read;
    read = read == (kStages - 1) * Shape::kStageBytes ? 0 : read + Shape::kStageBytes;
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
      store_rounded<Weights>(task, output_row + output_column, activate<Functions>(task, first, up));
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

  if constexpr (TileShape<Weights>::kMaxHeight >= 128)
    if (tile.rows > 64) return multiply_tile<Weights, 128, kUp>(task, tile, first_block);
  if (tile.rows > 32) return multiply_tile<Weights, 64, kUp>(task, tile, first_block);
  if (tile.rows > 16) return multiply_tile<Weights, 32, kUp>(task, tile, first_block);
  multiply_tile<Weights, 16, kUp>(task, tile, first_block);
}

}  // namespace moe::cuda
