// The router's product in float32. A logit is one chain of fused multiply-adds over the inputs in index order, as on
// the CPU, so that every device routes alike: a sum in another order may decide a near tie the other way.
#include "cuda/kernels/mma.cuh"
#include "cuda/kernels/tasks.h"

namespace moe::cuda {
namespace {

template <int kTokens, int kExperts, int kDepth, int kStages>
struct RouterShape {
  static constexpr int kRowFloats = RouterTile{kTokens, kExperts, kDepth, kStages}.row_floats();
  static constexpr int kStageFloats = RouterTile{kTokens, kExperts, kDepth, kStages}.stage_floats();
};

// A block computes a tile of logits, each thread kRows x kColumns of them: experts next to each other, tokens apart.
template <int kTokens, int kExperts, int kDepth, int kStages, int kRows, int kColumns>
__device__ __forceinline__ void router(const RouterTask& task) {
  constexpr int kRowFloats = RouterShape<kTokens, kExperts, kDepth, kStages>::kRowFloats;
  constexpr int kStageFloats = RouterShape<kTokens, kExperts, kDepth, kStages>::kStageFloats;
  constexpr int kGroup = kRows * kColumns > 4 ? 8 : 16;  // inputs
  constexpr int kThreadsAcross = kExperts / kColumns, kThreadsDown = kRouterThreads / kThreadsAcross;
  static_assert(kThreadsDown * kRows == kTokens);
  extern __shared__ __align__(16) float router_memory[];

  const int thread = threadIdx.x, across = thread % kThreadsAcross, down = thread / kThreadsAcross;
  const int64_t first_token = static_cast<int64_t>(blockIdx.x) * kTokens;
  const int first_expert = blockIdx.y * kExperts, depth = task.hidden_size;
  const int chunks = (depth + kDepth - 1) / kDepth;
  if (task.expert_load && blockIdx.x == 0 && blockIdx.y == 0)
    for (int expert = thread; expert < task.experts; expert += kRouterThreads) task.expert_load[expert] = 0;

  const auto load = [&](int stage, int chunk) {
    float* const rows = router_memory + stage * kStageFloats;
    float* const columns = rows + kTokens * kRowFloats;
    for (int i = thread; i < kTokens * kDepth; i += kRouterThreads) {
      const int row = i / kDepth, k = chunk * kDepth + i % kDepth;
      const bool exists = first_token + row < task.tokens && k < depth;
      copy_async4(rows + row * kRowFloats + i % kDepth,
                  exists ? task.hidden + (first_token + row) * depth + k : task.hidden, exists);
    }
    for (int i = thread; i < kDepth * kExperts; i += kRouterThreads) {
      const int expert = first_expert + i % kExperts, k = chunk * kDepth + i / kExperts;
      const bool exists = expert < task.experts && k < depth;
      copy_async4(columns + i, exists ? task.weights + static_cast<int64_t>(k) * task.experts + expert : task.weights,
                  exists);
    }
  };

  float sums[kRows][kColumns] = {};
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < chunks) load(stage, stage);
    commit_copies();
  }
#pragma unroll 1
  for (int chunk = 0; chunk < chunks; ++chunk) {
    wait_copies<kStages - 2>();
    __syncthreads();
    if (const int next = chunk + kStages - 1; next < chunks) load(next % kStages, next);
    commit_copies();

    const float* const rows = router_memory + chunk % kStages * kStageFloats;
    const float* const columns = rows + kTokens * kRowFloats + across * kColumns;
    if (first_token + down >= task.tokens) continue;
      // Beyond the inputs both sides are 0. Everything a group needs is loaded before its sums, which wait for one
      // another.
#pragma unroll
    for (int first = 0; first < kDepth; first += kGroup) {
      float x[kRows][kGroup], w[kGroup][kColumns];
#pragma unroll
      for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int k = 0; k < kGroup; k += 4) {
          const float4 four =
              *reinterpret_cast<const float4*>(rows + (down + r * kThreadsDown) * kRowFloats + first + k);
          x[r][k] = four.x, x[r][k + 1] = four.y, x[r][k + 2] = four.z, x[r][k + 3] = four.w;
        }
#pragma unroll
      for (int k = 0; k < kGroup; ++k)
#pragma unroll
        for (int c = 0; c < kColumns; ++c) w[k][c] = columns[(first + k) * kExperts + c];
#pragma unroll
      for (int k = 0; k < kGroup; ++k)
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
          for (int c = 0; c < kColumns; ++c) sums[r][c] = fmaf(x[r][k], w[k][c], sums[r][c]);
    }
  }
  wait_copies<0>();

#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int64_t token = first_token + down + r * kThreadsDown;
      const int expert = first_expert + across * kColumns + c;
      if (token >= task.tokens || expert >= task.experts) continue;
      task.logits[token * task.experts + expert] = sums[r][c] + (task.bias ? task.bias[expert] : 0.0f);
    }
}

}  // namespace
}  // namespace moe::cuda

extern "C" __global__ void __launch_bounds__(moe::cuda::kRouterThreads)
    moe_router_few(const moe::cuda::RouterTask task) {
  using namespace moe::cuda;
  router<kRouterFew.tokens, kRouterFew.experts, kRouterFew.depth, kRouterFew.stages, 1, 1>(task);
}

extern "C" __global__ void __launch_bounds__(moe::cuda::kRouterThreads)
    moe_router_many(const moe::cuda::RouterTask task) {
  using namespace moe::cuda;
  router<kRouterMany.tokens, kRouterMany.experts, kRouterMany.depth, kRouterMany.stages, 2, 2>(task);
}

extern "C" __global__ void __launch_bounds__(moe::cuda::kRouterThreads)
    moe_router_wide(const moe::cuda::RouterTask task) {
  using namespace moe::cuda;
  router<kRouterWide.tokens, kRouterWide.experts, kRouterWide.depth, kRouterWide.stages, 4, 4>(task);
}
