// What happens to sums before they leave a GEMM: bias, activation, rounding.
#pragma once
#include <cuda_fp16.h>

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/tasks.h"
#include "cuda/kernels/weights.cuh"

namespace moe::cuda {

template <int planes>
struct FunctionsOfPlanes {
  using Type = Fast;
};
template <>
struct FunctionsOfPlanes<3> {
  using Type = Exact;
};
// Results that are rounded to 16 bits do not need more.
template <class Weights>
using FunctionsOf = typename FunctionsOfPlanes<Weights::kPlanes>::Type;

// The biases of two columns of a block of kPacketColumns.
__device__ __forceinline__ float2 bias_of(const GemmTask& task, int expert, int block, int first, int second) {
  if (!task.bias) return {0.0f, 0.0f};
  const float* const bias = task.bias + (static_cast<int64_t>(expert) * task.column_blocks + block) * kPacketColumns;
  return {bias[first], bias[second]};
}

// Two values rounded to the 16 bits of the rows.
template <class Weights>
__device__ __forceinline__ uint32_t round_pair(float low, float high) {
  if constexpr (Weights::Mma::kFloat16) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    return pack_bfloat16(low, high);
  }
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
  } else {
    put(to, round_pair<Weights>(low, high));
  }
}

}  // namespace moe::cuda
