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

// What a lane multiplies of a row and one packet: inputs 2t, 2t + 8, 2t + 16, 2t + 24 and the next of each; as they are
// fetched, and as operands.
template <class Weights>
struct RoundedRow {
  const uint16_t* at;
  int64_t plane;
  struct Fetched {
    uint4 planes[Weights::kPlanes];
  };
  static constexpr int kRegisters = 4 * Weights::kPlanes;

  __device__ __forceinline__ RoundedRow(const GemmTask& task, int64_t row, int t)
      : at(task.input + row * task.depth + t * 2), plane(task.input_plane) {}
  __device__ __forceinline__ Fetched fetch(int packet) const {
    Fetched out;
#pragma unroll
    for (int i = 0; i < Weights::kPlanes; ++i) {
      const uint16_t* const from = at + i * plane + packet * kPacketDepth;
      const auto pair = [&](int column) { return *reinterpret_cast<const uint32_t*>(from + column); };
      out.planes[i] = {pair(0), pair(8), pair(16), pair(24)};
    }
    return out;
  }
  static __device__ __forceinline__ const Fetched& operands(const Fetched& fetched) { return fetched; }
};

// From float32, zeros beyond the row. kWhole: packets end where the row does.
template <class Weights, bool kWhole>
struct Float32Row {
  const float* at;
  int left;  // values from `at` to the end of the row
  struct Fetched {
    float2 pairs[4];
  };
  static constexpr int kRegisters = 8;

  __device__ __forceinline__ Float32Row(const GemmTask& task, int64_t row, int t)
      : at(task.hidden + row * task.hidden_size + t * 2), left(task.hidden_size - t * 2) {}
  __device__ __forceinline__ Fetched fetch(int packet) const {
    const float* const from = at + packet * kPacketDepth;
    const int here = left - packet * kPacketDepth;
    Fetched out;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = 8 * i;
      if constexpr (kWhole)
        out.pairs[i] = *reinterpret_cast<const float2*>(from + column);
      else
        out.pairs[i] = {column < here ? from[column] : 0.0f, column + 1 < here ? from[column + 1] : 0.0f};
    }
    return out;
  }
  static __device__ __forceinline__ typename RoundedRow<Weights>::Fetched operands(const Fetched& fetched) {
    typename RoundedRow<Weights>::Fetched out;
    const auto round = [&](const float2& pair, auto&&... registers) {
      if constexpr (Weights::kPlanes == 3)
        split(pair.x, pair.y, registers...);
      else
        ((registers = round_pair<Weights>(pair.x, pair.y)), ...);
    };
    if constexpr (Weights::kPlanes == 3) {
      round(fetched.pairs[0], out.planes[0].x, out.planes[1].x, out.planes[2].x);
      round(fetched.pairs[1], out.planes[0].y, out.planes[1].y, out.planes[2].y);
      round(fetched.pairs[2], out.planes[0].z, out.planes[1].z, out.planes[2].z);
      round(fetched.pairs[3], out.planes[0].w, out.planes[1].w, out.planes[2].w);
    } else {
      round(fetched.pairs[0], out.planes[0].x);
      round(fetched.pairs[1], out.planes[0].y);
      round(fetched.pairs[2], out.planes[0].z);
      round(fetched.pairs[3], out.planes[0].w);
    }
    return out;
  }
};

// Packets on their way, with what they are multiplied by: as many as registers hold.
template <class Weights, class Row, int kColumns>
__host__ __device__ constexpr int packets_ahead() {
  constexpr int kRegisters = static_cast<int>(sizeof(typename Weights::Part)) / 4 + kColumns * Row::kRegisters;
  return kRegisters <= 16 ? 8 : kRegisters <= 32 ? 4 : 2;
}

// The rows of a lane: one of each group of eight.
template <class Row, int kColumns>
struct RowSet {
  template <class Make>
  __device__ __forceinline__ explicit RowSet(const Make& make) : of{make(0)} {}
  Row of[1];
};
template <class Row>
struct RowSet<Row, 4> {
  template <class Make>
  __device__ __forceinline__ explicit RowSet(const Make& make) : of{make(0), make(1), make(2), make(3)} {}
  Row of[4];
};

template <class Weights, bool kUp, int kColumns, class Row>
__device__ __forceinline__ void few_gemm(const GemmTask& task) {
  using Functions = FunctionsOf<Weights>;
  constexpr int kPlanes = Weights::kPlanes;
  constexpr int kAhead = packets_ahead<Weights, Row, kColumns>();
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int block = blockIdx.x * kFewBlocks + threadIdx.x / kWarp;
  if (blockIdx.y >= *task.tile_count || block >= task.column_blocks) return;
  const Tile tile = task.tiles[blockIdx.y];
  const int packets = task.depth / kPacketDepth;
  const uint8_t* const weights =
      task.weights + (static_cast<int64_t>(tile.expert) * task.column_blocks + block) * packets * Weights::kBytes;

  // Rows that do not exist are copies of the first: what comes of them is not stored.
  const auto row_of = [&](int column) {
    const int row = column * 8 + g;
    int64_t source = tile.first_row + (row < tile.rows ? row : 0);
    if (task.slot_of_row) source = task.slot_of_row[source] / task.fan_out;
    return Row(task, source, t);
  };
  struct Ahead {
    typename Weights::Part part;
    typename Row::Fetched rows[kColumns];
  } ahead[kAhead];
  const RowSet<Row, kColumns> rows(row_of);
  const auto fetch = [&](Ahead& to, int packet) {
    to.part = Weights::load_global(weights + static_cast<int64_t>(packet) * Weights::kBytes, lane);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) to.rows[c] = rows.of[c].fetch(packet);
  };

  float sums[kColumns][4] = {};
  const auto multiply = [&](const Ahead& from) {
    typename RoundedRow<Weights>::Fetched operands[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) operands[c] = Row::operands(from.rows[c]);
    float small[kColumns][4] = {};  // see tile_gemm.cuh
    float(&to)[kColumns][4] = kPlanes == 1 ? sums : small;
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const typename Weights::Operands both = Weights::operands(from.part, step);
      Wide left[kPlanes];
#pragma unroll
      for (int plane = 0; plane < kPlanes; ++plane) {
        const Wide& four = both.plane[plane];
        left[plane] = {four.x, four.z, four.y, four.w};
      }
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        Narrow right[kPlanes];
#pragma unroll
        for (int plane = 0; plane < kPlanes; ++plane) {
          const uint4& row = operands[c].planes[plane];
          right[plane] = step == 0 ? Narrow{row.x, row.y} : Narrow{row.z, row.w};
        }
        multiply_planes<Weights>(to[c], right, left);
      }
    }
    if constexpr (kPlanes != 1) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[c][i] += small[c][i];
    }
  };

#pragma unroll
  for (int i = 0; i < kAhead; ++i)
    if (i < packets) fetch(ahead[i], i);
  int packet = 0;
#pragma unroll 1
  for (; packet + kAhead <= packets; packet += kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      multiply(ahead[i]);
      if (const int next = packet + kAhead + i; next < packets) fetch(ahead[i], next);
    }
  }
#pragma unroll
  for (int i = 0; i < kAhead; ++i)
    if (packet + i < packets) multiply(ahead[i]);

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
        store_rounded<Weights>(task, at + block * 8 + g, activate<Functions>(task, sum, sum8));
      } else {
        store_rounded<Weights>(task, at + block * 16 + g, activate<Functions>(task, 0.0f, sum));
        store_rounded<Weights>(task, at + block * 16 + 8 + g, activate<Functions>(task, 0.0f, sum8));
      }
    }
}

// Up, from the float32 rows themselves.
template <class Weights>
__device__ __forceinline__ void round_and_up(const GemmTask& task) {
  if (task.hidden_size == task.depth)
    few_gemm<Weights, true, 1, Float32Row<Weights, true>>(task);
  else
    few_gemm<Weights, true, 1, Float32Row<Weights, false>>(task);
}

}  // namespace moe::cuda
