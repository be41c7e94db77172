// What happens to sums before they leave a GEMM: bias, activation, rounding.
#pragma once
#include <cuda_fp16.h>

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/tasks.h"
#include "cuda/kernels/weights.cuh"

namespace moe::cuda {

// The bias of two neighbouring columns of a block of kPacketColumns.
__device__ __forceinline__ float2 bias_of(const GemmTask& task, int expert, int block, int column) {
  if (!task.bias) return {0.0f, 0.0f};
  const int64_t at = (static_cast<int64_t>(expert) * task.column_blocks + block) * kPacketColumns + column;
  return *reinterpret_cast<const float2*>(task.bias + at);
}

// One rounded value, or its planes, at `at` of the 16-bit rows.
template <class Weights>
__device__ __forceinline__ void store_rounded(const GemmTask& task, int64_t at, float value) {
  uint16_t* const to = static_cast<uint16_t*>(task.output) + at;
  if constexpr (Weights::kPlanes == 3) {
    uint32_t first, second, third;
    split(value, 0.0f, first, second, third);
    to[0] = static_cast<uint16_t>(first);
    to[task.output_plane] = static_cast<uint16_t>(second);
    to[2 * task.output_plane] = static_cast<uint16_t>(third);
  } else if constexpr (Weights::Mma::kFloat16) {
    *to = __half_as_ushort(__float2half_rn(value));
  } else {
    *to = __bfloat16_as_ushort(__float2bfloat16_rn(value));
  }
}

// Two neighbours; `at` is even.
template <class Weights>
__device__ __forceinline__ void store_rounded(const GemmTask& task, int64_t at, float low, float high) {
  uint16_t* const to = static_cast<uint16_t*>(task.output) + at;
  const auto put = [](uint16_t* where, uint32_t pair) { *reinterpret_cast<uint32_t*>(where) = pair; };
  if constexpr (Weights::kPlanes == 3) {
    uint32_t first, second, third;
    split(low, high, first, second, third);
    put(to, first);
    put(to + task.output_plane, second);
    put(to + 2 * task.output_plane, third);
  } else if constexpr (Weights::Mma::kFloat16) {
    const __half2 pair = __floats2half2_rn(low, high);
    put(to, *reinterpret_cast<const uint32_t*>(&pair));
  } else {
    put(to, pack_bfloat16(low, high));
  }
}

// Float32 values of the columns that exist. `at` is where the row begins.
__device__ __forceinline__ void store_pair(const GemmTask& task, int64_t at, int column, float low, float high) {
  float* const to = static_cast<float*>(task.output) + at + column;
  if (column + 1 < task.columns && (task.output_stride & 1) == 0) {
    *reinterpret_cast<float2*>(to) = {low, high};
    return;
  }
  if (column < task.columns) to[0] = low;
  if (column + 1 < task.columns) to[1] = high;
}

}  // namespace moe::cuda
