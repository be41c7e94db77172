// Work on whole rows: rounding them for the tensor cores, mixing them into tokens, scaling and moving them.
#include <cuda_fp16.h>

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/tasks.h"
#include "cuda/kernels/weights.cuh"

namespace moe::cuda {
namespace {

// put(index, low, high) for every pair of padded columns of one row per block.
template <class Put>
__device__ __forceinline__ void for_each_pair(const RoundTask& task, const Put& put) {
  const int64_t row = blockIdx.x;
  const float* const from = task.from + row * task.columns;
  for (int column = 2 * threadIdx.x; column < task.padded_columns; column += 2 * blockDim.x) {
    const float low = column < task.columns ? from[column] : 0.0f;
    const float high = column + 1 < task.columns ? from[column + 1] : 0.0f;
    put((row * task.padded_columns + column) / 2, low, high);
  }
}

__device__ __forceinline__ float zero(float) { return 0.0f; }
__device__ __forceinline__ float4 zero(float4) { return {0.0f, 0.0f, 0.0f, 0.0f}; }
__device__ __forceinline__ float multiply_add(float weight, float value, float sum) { return fmaf(weight, value, sum); }
__device__ __forceinline__ float4 multiply_add(float weight, const float4& value, const float4& sum) {
  return {fmaf(weight, value.x, sum.x), fmaf(weight, value.y, sum.y), fmaf(weight, value.z, sum.z),
          fmaf(weight, value.w, sum.w)};
}
__device__ __forceinline__ float add(float a, float b) { return a + b; }
__device__ __forceinline__ float4 add(const float4& a, const float4& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

// A thread mixes one Value, a column or four of them. The values of some choices are fetched before they are added.
template <class Value>
__device__ __forceinline__ void combine(const CombineTask& task) {
  constexpr int kTogether = 4;
  const int64_t token = blockIdx.x, width = task.hidden_size / static_cast<int>(sizeof(Value) / sizeof(float));
  const int64_t column = static_cast<int64_t>(blockIdx.y) * kCombineThreads + threadIdx.x;
  if (column >= width) return;
  const int32_t* const row_of_slot = task.row_of_slot + token * task.fan_out;
  const float* const weights = task.weights + token * task.fan_out;
  const Value* const rows = reinterpret_cast<const Value*>(task.rows);
  Value sum = zero(Value());
  for (int first = 0; first < task.fan_out; first += kTogether) {
    Value values[kTogether];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const int64_t row = first + i < task.fan_out ? row_of_slot[first + i] : -1;
      values[i] = row < 0 ? zero(Value()) : rows[row * width + column];
    }
#pragma unroll
    for (int i = 0; i < kTogether; ++i)
      if (first + i < task.fan_out) sum = multiply_add(weights[first + i], values[i], sum);
  }
  if (task.shared) sum = add(sum, reinterpret_cast<const Value*>(task.shared)[token * width + column]);
  reinterpret_cast<Value*>(task.output)[token * width + column] = sum;
}

}  // namespace
}  // namespace moe::cuda

extern "C" __global__ void __launch_bounds__(256) moe_round_bfloat16(const moe::cuda::RoundTask task) {
  using namespace moe::cuda;
  uint32_t* const to = reinterpret_cast<uint32_t*>(task.to);
  for_each_pair(task, [&](int64_t at, float low, float high) { to[at] = pack_bfloat16(low, high); });
}

extern "C" __global__ void __launch_bounds__(256) moe_round_float16(const moe::cuda::RoundTask task) {
  using namespace moe::cuda;
  __half2* const to = reinterpret_cast<__half2*>(task.to);
  for_each_pair(task, [&](int64_t at, float low, float high) { to[at] = __floats2half2_rn(low, high); });
}

extern "C" __global__ void __launch_bounds__(256) moe_round_split(const moe::cuda::RoundTask task) {
  using namespace moe::cuda;
  uint32_t* const to = reinterpret_cast<uint32_t*>(task.to);
  const int64_t plane = task.rows * task.padded_columns / 2;
  for_each_pair(
      task, [&](int64_t at, float low, float high) { split(low, high, to[at], to[at + plane], to[at + 2 * plane]); });
}

// Blocks of one token, choices in slot order.
extern "C" __global__ void __launch_bounds__(moe::cuda::kCombineThreads)
    moe_combine(const moe::cuda::CombineTask task) {
  using namespace moe::cuda;
  if (task.hidden_size % 4 == 0)
    combine<float4>(task);
  else
    combine<float>(task);
}

extern "C" __global__ void __launch_bounds__(256) moe_scale_rows(const moe::cuda::ScaleTask task) {
  const int64_t token = blockIdx.x;
  const float scale = moe::cuda::sigmoid<moe::cuda::Exact>(task.logits[token]);
  for (int column = threadIdx.x; column < task.hidden_size; column += blockDim.x)
    task.rows[token * task.hidden_size + column] *= scale;
}

// A block of one token.
extern "C" __global__ void __launch_bounds__(256) moe_add_identities(const moe::cuda::IdentityTask task) {
  const int64_t token = blockIdx.x;
  float factor = 0.0f;
  for (int64_t slot = token * task.top_k; slot < (token + 1) * task.top_k; ++slot)
    if (task.experts[slot] >= task.real_experts) factor += task.weights[slot];
  for (int64_t at = token * task.hidden_size + threadIdx.x; at < (token + 1) * task.hidden_size; at += blockDim.x)
    task.always[at] =
        (task.shared_scale == 0.0f ? 0.0f : task.shared_scale * task.always[at]) + factor * task.hidden[at];
}

// A block of one slot.
extern "C" __global__ void __launch_bounds__(256) moe_weigh_rows(const moe::cuda::WeighTask task) {
  const int64_t slot = blockIdx.x, token = slot / task.top_k;
  const float weight = task.weights[slot];
  if (threadIdx.x == 0) task.ones[slot] = weight == weight ? 1.0f : weight;
  if (task.experts[slot] < 0 || task.experts[slot] >= task.real_experts) return;
  for (int64_t column = threadIdx.x; column < task.hidden_size; column += blockDim.x)
    task.rows[slot * task.hidden_size + column] = weight * task.hidden[token * task.hidden_size + column];
}

// A block of one row.
extern "C" __global__ void __launch_bounds__(256) moe_move_rows(const moe::cuda::MoveTask task) {
  const int64_t row = blockIdx.x, source = task.index ? task.index[row] : row;
  if (source < 0) return;
  for (int64_t column = threadIdx.x; column < task.columns; column += blockDim.x)
    task.to[row * task.to_stride + column] = task.from[source * task.from_stride + column];
}
