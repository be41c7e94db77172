// From a token's logits to its scores and its best experts, one warp per token, bit for bit as router_scores.cc,
// router_groups.cc and router_topk.cc of core/routing compute them. Arrays are in shared memory; all lanes call, all
// get the result.
#pragma once
#include <cstdint>

#include "core/routing/score_functions.h"
#include "cuda/kernels/tasks.h"

namespace moe::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

// In eight lanes of every eighth value, and a tree over them.
template <class Sum>
__device__ __forceinline__ Sum sum_in_lanes(const float* values, int count, int lane) {
  Sum sum = 0;
  if (lane < 8)
    for (int i = lane; i < count; i += 8) sum += static_cast<Sum>(values[i]);
  sum += __shfl_xor_sync(kAllLanes, sum, 4);
  sum += __shfl_xor_sync(kAllLanes, sum, 2);
  sum += __shfl_xor_sync(kAllLanes, sum, 1);
  return __shfl_sync(kAllLanes, sum, 0);
}

// The largest logit; false where the token cannot be routed. logits: global memory.
__device__ __forceinline__ bool routable_max(const float* logits, int count, int lane, float& max) {
  constexpr float kInfinity = __builtin_huge_valf();
  max = -kInfinity;
  bool unroutable = false;
  for (int i = lane; i < count; i += kWarp) {
    const float logit = logits[i];
    max = logit > max ? logit : max;
    unroutable |= !(logit < kInfinity);
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, max, step);
    max = other > max ? other : max;
  }
  return !__any_sync(kAllLanes, unroutable) && max != -kInfinity;
}

// Returns the sum of e^(logit - max).
__device__ __forceinline__ float softmax(const float* logits, float max, int count, int lane, float* scores) {
  for (int i = lane; i < count; i += kWarp) scores[i] = exp_of_nonpositive(logits[i] - max);
  __syncwarp();
  const float sum = sum_in_lanes<float>(scores, count, lane);
  __syncwarp();
  for (int i = lane; i < count; i += kWarp) scores[i] = scores[i] / sum;
  __syncwarp();
  return sum;
}

__device__ __forceinline__ void sigmoids(const float* logits, int count, int lane, float* scores) {
  __syncwarp();
  for (int i = lane; i < count; i += kWarp) scores[i] = sigmoid(logits[i]);
  __syncwarp();
}

__device__ __forceinline__ void sqrt_softpluses(const float* logits, int count, int lane, float* scores) {
  __syncwarp();
  for (int i = lane; i < count; i += kWarp) scores[i] = sqrt_softplus(logits[i]);
  __syncwarp();
}

// The softmax at `best` over the logits close to it, but for one; scores are scratch. As
// core/routing/router_sparse_mixer.cc.
__device__ __forceinline__ float mixer_weight(const float* logits, int count, int without, float best, float width,
                                              int lane, float* scores) {
  __syncwarp();
  for (int i = lane; i < count; i += kWarp) {
    const float magnitude = fabsf(logits[i]), size = magnitude < best ? best : magnitude;
    const bool is_far = (best - logits[i]) / size > width;
    scores[i] = i != without && !is_far ? exp_of_nonpositive(logits[i] - best) : 0.0f;
  }
  __syncwarp();
  return 1.0f / sum_in_lanes<float>(scores, count, lane);
}

// put(choice, index, value) in every lane for the k largest, largest first, equal ones by lower index. A lane's part of
// `values` is its multiples of 32, and a bit each says what is taken.
template <class Put>
__device__ __forceinline__ void top_k(const float* values, int count, int k, int lane, const Put& put) {
  unsigned taken = 0;
  for (int choice = 0; choice < k; ++choice) {
    float best = 0.0f;
    int index = kMaxExperts;  // none
    for (int i = lane, bit = 0; i < count; i += kWarp, ++bit)
      if (!(taken >> bit & 1) && (index == kMaxExperts || values[i] > best)) best = values[i], index = i;
    for (int step = kWarp / 2; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(kAllLanes, best, step);
      const int other_index = __shfl_xor_sync(kAllLanes, index, step);
      const bool better = index == kMaxExperts || other > best || (other == best && other_index < index);
      if (other_index != kMaxExperts && better) best = other, index = other_index;
    }
    if (index % kWarp == lane) taken |= 1u << (index / kWarp);
    put(choice, index, best);
  }
}

// Ranks of experts outside a token's best groups become 0, or -infinity. group_scores: [groups].
__device__ __forceinline__ void mask_groups(const ChooseTask& task, float* ranks, float* group_scores, int lane) {
  constexpr float kLowestRank = -__builtin_huge_valf();
  const int size = task.num_experts / task.groups;
  for (int group = lane; group < task.groups; group += kWarp) {
    float first = kLowestRank, second = kLowestRank;
    for (int i = 0; i < size; ++i) {
      const float rank = ranks[group * size + i], lower = first < rank ? first : rank;
      second = second < lower ? lower : second;
      first = first < rank ? rank : first;
    }
    group_scores[group] = task.sum_of_two && size > 1 ? first + second : first;
  }
  __syncwarp();
  for (int expert = lane; expert < task.num_experts; expert += kWarp) {
    const float own = group_scores[expert / size];
    int above = 0;
    for (int group = 0; group < task.groups; ++group) above += group_scores[group] > own;
    if (above >= task.kept_groups) ranks[expert] = task.mask_to_lowest ? kLowestRank : 0.0f;
  }
  __syncwarp();
}

}  // namespace moe::cuda
