// The router's product in float32. A logit is one chain of fused multiply-adds over the inputs in index order, as on
// the CPU, so that every device routes alike: a sum in another order may decide a near tie the other way.
#include "cuda/kernels/mma.cuh"
#include "cuda/kernels/tasks.h"

namespace moe::cuda {
namespace {

extern __shared__ __align__(16) float router_memory[];

template <int kTokens, int kExperts, int kDepth, int kStages>
struct RouterShape {
  static constexpr int kRowFloats = RouterTile{kTokens, kExperts, kDepth, kStages}.row_floats();
  static constexpr int kStageFloats = RouterTile{kTokens, kExperts, kDepth, kStages}.stage_floats();
};

// What a thread copies of every chunk of depth: the same kFloats floats of the same rows of one operand. Beyond the
// operand's edges it writes zeros.
template <int kRows, int kColumns, int kStride, int kFloats>
struct RouterCopies {
  static constexpr int kAcross = kColumns / kFloats, kPieces = kRows * kAcross;
  static constexpr int kCopies = (kPieces + kRouterThreads - 1) / kRouterThreads;

  const float* from[kCopies];
  bool exists[kCopies];

  // first: [rows, columns] of the operand, of which `rows` and `columns` are left.
  __device__ __forceinline__ RouterCopies(const float* first, int64_t row_stride, int64_t rows, int64_t columns) {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int piece = threadIdx.x + i * kRouterThreads, row = piece / kAcross, column = piece % kAcross * kFloats;
      exists[i] = row < rows && column < columns;
      from[i] = exists[i] ? first + row * row_stride + column : first;
    }
  }
  // The chunk's own edge is told by `inside`, for a row and a column of the tile; `step` leads to the next chunk.
  template <class Inside>
  __device__ __forceinline__ void start(float* to, int64_t step, const Inside& inside) {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int piece = threadIdx.x + i * kRouterThreads, row = piece / kAcross, column = piece % kAcross * kFloats;
      if (kPieces % kRouterThreads != 0 && piece >= kPieces) break;
      const bool copied = exists[i] && inside(row, column);
      copy_floats<kFloats>(to + row * kStride + column, from[i], copied);
      if (exists[i]) from[i] += step;
    }
  }
};

// A block computes a tile of logits, each thread kRows x kColumns of them: experts next to each other, tokens apart.
// kFloats: what both operands' rows are multiples of.
template <int kTokens, int kExperts, int kDepth, int kStages, int kRows, int kColumns, int kFloats>
__device__ __forceinline__ void router(const RouterTask& task) {
  constexpr int kRowFloats = RouterShape<kTokens, kExperts, kDepth, kStages>::kRowFloats;
  constexpr int kStageFloats = RouterShape<kTokens, kExperts, kDepth, kStages>::kStageFloats;
  constexpr int kGroup = kRows * kColumns > 4 ? 8 : 16;  // inputs
  constexpr int kThreadsAcross = kExperts / kColumns, kThreadsDown = kRouterThreads / kThreadsAcross;
  static_assert(kThreadsDown * kRows == kTokens);

  const int thread = threadIdx.x, across = thread % kThreadsAcross, down = thread / kThreadsAcross;
  const int64_t first_token = static_cast<int64_t>(blockIdx.x) * kTokens;
  const int first_expert = blockIdx.y * kExperts, depth = task.hidden_size;
  const int chunks = (depth + kDepth - 1) / kDepth;
  if (task.expert_load && blockIdx.x == 0 && blockIdx.y == 0)
    for (int expert = thread; expert < task.real_experts; expert += kRouterThreads) task.expert_load[expert] = 0;

  RouterCopies<kTokens, kDepth, kRowFloats, kFloats> rows_in(task.hidden + first_token * depth, depth,
                                                             task.tokens - first_token, kDepth);
  RouterCopies<kDepth, kExperts, kExperts, kFloats> columns_in(task.weights + first_expert, task.experts, kDepth,
                                                               task.experts - first_expert);
  const auto load = [&](int stage, int chunk) {
    float* const rows = router_memory + stage * kStageFloats;
    const int left = depth - chunk * kDepth;
    rows_in.start(rows, kDepth, [&](int, int column) { return column < left; });
    columns_in.start(rows + kTokens * kRowFloats, static_cast<int64_t>(kDepth) * task.experts,
                     [&](int row, int) { return row < left; });
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

template <int kTokens, int kExperts, int kDepth, int kStages, int kRows, int kColumns>
__device__ __forceinline__ void router(const RouterTask& task) {
  if (task.hidden_size % 4 == 0 && task.experts % 4 == 0)
    router<kTokens, kExperts, kDepth, kStages, kRows, kColumns, 4>(task);
  else
    router<kTokens, kExperts, kDepth, kStages, kRows, kColumns, 1>(task);
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
