// Work on whole rows: rounding them for the tensor cores, mixing them into tokens, scaling them.
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

// One block per token, choices in slot order.
extern "C" __global__ void __launch_bounds__(256) moe_combine(const moe::cuda::CombineTask task) {
  const int64_t token = blockIdx.x;
  const int32_t* const row_of_slot = task.row_of_slot + token * task.fan_out;
  const float* const weights = task.weights + token * task.fan_out;
  for (int column = threadIdx.x; column < task.hidden_size; column += blockDim.x) {
    float sum = 0.0f;
    for (int choice = 0; choice < task.fan_out; ++choice) {
      const int64_t row = row_of_slot[choice];
      const float value = row < 0 ? 0.0f : task.rows[row * task.hidden_size + column];
      sum = fmaf(weights[choice], value, sum);
    }
    if (task.shared) sum += task.shared[token * task.hidden_size + column];
    task.output[token * task.hidden_size + column] = sum;
  }
}

extern "C" __global__ void __launch_bounds__(256) moe_scale_rows(const moe::cuda::ScaleTask task) {
  const int64_t token = blockIdx.x;
  const float scale = moe::cuda::sigmoid<moe::cuda::Exact>(task.logits[token]);
  for (int column = threadIdx.x; column < task.hidden_size; column += blockDim.x)
    task.rows[token * task.hidden_size + column] *= scale;
}
