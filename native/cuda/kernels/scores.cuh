// From a token's logits to its scores and its best experts, one warp per token, bit for bit as core/router_scores.cc,
// router_groups.cc and router_topk.cc compute them. Arrays are in shared memory; all lanes call, all get the result.
#pragma once
#include <cstdint>

#include "cuda/kernels/tasks.h"

namespace moe::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

// e^x for x <= 0. No step is contracted: kernels are compiled without fused multiply-adds but where one is written.
__device__ __forceinline__ float exp_of_nonpositive(float x) {
  constexpr float kRounder = 12582912.0f;
  const float clamped = -__int_as_float(min(__float_as_int(x) & 0x7fffffff, __float_as_int(105.0f)));
  const float shifted = clamped * 1.44269504f + kRounder;
  const float exponent = shifted - kRounder;
  const float r = (clamped - exponent * 0.693359375f) - exponent * -2.12194440e-4f;
  float series = 1.9875691500e-4f;
  series = series * r + 1.3981999507e-3f;
  series = series * r + 8.3334519073e-3f;
  series = series * r + 4.1665795894e-2f;
  series = series * r + 1.6666665459e-1f;
  series = series * r + 5.0000001201e-1f;
  const float mantissa = (series * (r * r) + r) + 1.0f;
  const int whole = __float_as_int(shifted) - __float_as_int(kRounder);
  const int half = whole >> 1;
  return mantissa * __int_as_float((half + 127) << 23) * __int_as_float((whole - half + 127) << 23);
}

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
  for (int i = lane; i < count; i += kWarp) {
    const float e = exp_of_nonpositive(-fabsf(logits[i]));
    scores[i] = (__float_as_int(logits[i]) < 0 ? e : 1.0f) / (1.0f + e);
  }
  __syncwarp();
}

// As sqrt_softplus of core/routing/router_scores.h.
__device__ __forceinline__ float sqrt_softplus(float x) {
  const float root = exp_of_nonpositive(-0.5f * fabsf(x)), power = root * root;
  const float s = power / (2.0f + power), square = s * s;
  float series = 1.0f / 17;
  series = series * square + 1.0f / 15;
  series = series * square + 1.0f / 13;
  series = series * square + 1.0f / 11;
  series = series * square + 1.0f / 9;
  series = series * square + 1.0f / 7;
  series = series * square + 1.0f / 5;
  series = series * square + 1.0f / 3;
  series = series * square + 1.0f;
  const float ratio = series * (2.0f / (2.0f + power));
  return x < 0.0f ? root * __fsqrt_rn(ratio) : __fsqrt_rn(x + power * ratio);
}

__device__ __forceinline__ void sqrt_softpluses(const float* logits, int count, int lane, float* scores) {
  __syncwarp();
  for (int i = lane; i < count; i += kWarp) scores[i] = sqrt_softplus(logits[i]);
  __syncwarp();
}

// As soft_capped of core/routing/router_scores.h.
__device__ __forceinline__ float soft_capped(float logit, float cap) {
  const float ratio = logit / cap, x = -2.0f * fabsf(ratio);
  float series = 1.9875691500e-4f;
  series = series * x + 1.3981999507e-3f;
  series = series * x + 8.3334519073e-3f;
  series = series * x + 4.1665795894e-2f;
  series = series * x + 1.6666665459e-1f;
  series = series * x + 5.0000001201e-1f;
  const float e = x > -0.34f ? series * (x * x) + x : exp_of_nonpositive(x) - 1.0f;
  if (!(fabsf(logit) < __builtin_huge_valf())) return logit;
  return cap * copysignf(-e / (2.0f + e), ratio);
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
