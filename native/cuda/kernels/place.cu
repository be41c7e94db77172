// Giving out the slots of experts in order, where there is a limit to them.
#include "cuda/kernels/scores.cuh"

namespace moe::cuda {
namespace {

struct Group {
  int64_t begin, end, capacity;
};

__device__ __forceinline__ Group group_of(const PlaceTask& task, int64_t index) {
  const int64_t begin = index * task.group_size;
  const bool last = begin + task.group_size >= task.tokens;
  return {begin, last ? task.tokens : begin + task.group_size, last ? task.last_capacity : task.full_capacity};
}

}  // namespace
}  // namespace moe::cuda

// A warp per expert and group: it sees every choice in the order in which slots are given, and takes its own.
extern "C" __global__ void __launch_bounds__(128) moe_place_v2(const moe::cuda::PlaceTask task) {
  using namespace moe::cuda;
  const int lane = threadIdx.x % kWarp, expert = blockIdx.x * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  if (expert >= task.num_experts) return;
  const Group group = group_of(task, blockIdx.y);
  const int64_t tokens = group.end - group.begin, top_k = task.top_k;
  int64_t taken = 0, cut = 0;

  // The slots of one round, the i-th is slot_of(i).
  const auto round = [&](int64_t count, const auto& slot_of) {
    for (int64_t first = 0; first < count; first += kWarp) {
      const int64_t i = first + lane, slot = i < count ? slot_of(i) : 0;
      const int choice = i < count ? task.choices[slot] : kMaxExperts;
      const bool own = choice == expert;
      const unsigned all = __ballot_sync(kAllLanes, own);
      if (own) {
        const bool keep = group.capacity < 0 || taken + __popc(all & ((1u << lane) - 1)) < group.capacity;
        task.experts[slot] = keep ? expert : -1;
        task.weights[slot] = keep ? task.gates[slot] : 0.0f;
      } else if (expert == 0 && i < count && (choice < 0 || choice >= task.num_experts)) {
        // Somebody must pass on the unroutable ones and the identities.
        task.experts[slot] = choice;
        task.weights[slot] = task.gates[slot];
      }
      const int64_t asked = __popc(all), left = group.capacity < 0 ? asked : group.capacity - taken;
      const int64_t given = asked < left ? asked : left;
      taken += given;
      cut += asked - given;
    }
  };
  if (task.token_major) {
    round(tokens * top_k, [&](int64_t i) { return group.begin * top_k + i; });
  } else {
    for (int64_t choice = 0; choice < top_k; ++choice)
      round(tokens, [&](int64_t i) { return (group.begin + i) * top_k + choice; });
  }
  if (lane != 0) return;
  const int64_t at = static_cast<int64_t>(blockIdx.y) * task.num_experts + expert;
  task.load[at] = static_cast<int32_t>(taken);
  task.dropped[at] = static_cast<int32_t>(cut);
}

// A block per group. In each round a token that has kept all so far asks for its next choice; one with gate 0 asks for
// expert 0 (core/routing/router_v1.h says why).
extern "C" __global__ void __launch_bounds__(512) moe_place_v1(const moe::cuda::PlaceTask task) {
  using namespace moe::cuda;
  __shared__ int taken[kMaxExperts], load[kMaxExperts];
  __shared__ int cut;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  const Group group = group_of(task, blockIdx.x);
  const int top_k = task.top_k;
  if (threadIdx.x == 0) cut = 0;
  for (int expert = threadIdx.x; expert < task.num_experts; expert += blockDim.x) taken[expert] = load[expert] = 0;
  for (int64_t token = group.begin + threadIdx.x; token < group.end; token += blockDim.x) task.kept[token] = 0;
  __syncthreads();

  for (int round = 0; round < top_k; ++round) {
    for (int expert = warp; expert < task.num_experts; expert += warps) {
      int64_t used = taken[expert];
      int served = 0;
      for (int64_t first = group.begin; first < group.end; first += kWarp) {
        const int64_t token = first + lane, slot = token * top_k + round;
        bool asks = token < group.end && task.choices[token * top_k] >= 0;
        const float gate = asks ? task.gates[slot] : 0.0f;
        asks = asks && (gate == 0.0f ? 0 : task.choices[slot]) == expert && task.kept[token] == round;
        const unsigned all = __ballot_sync(kAllLanes, asks);
        const bool keep = asks && used + __popc(all & ((1u << lane) - 1)) < group.capacity;
        if (keep) task.kept[token] = round + 1;
        served += __popc(__ballot_sync(kAllLanes, keep && gate != 0.0f));
        used += __popc(__ballot_sync(kAllLanes, keep));
      }
      __syncwarp();
      if (lane == 0) taken[expert] = static_cast<int>(used), load[expert] += served;
      __syncwarp();
    }
    __syncthreads();
  }

  for (int64_t token = group.begin + threadIdx.x; token < group.end; token += blockDim.x) {
    const bool routable = task.choices[token * top_k] >= 0;
    const int kept = task.kept[token];
    float sum = 0.0f;
    for (int choice = 0; choice < kept; ++choice) sum += task.gates[token * top_k + choice];
    for (int choice = 0; choice < top_k; ++choice) {
      const int64_t slot = token * top_k + choice;
      const float gate = task.gates[slot];
      const bool serves = routable && choice < kept && gate != 0.0f;
      task.experts[slot] = serves ? task.choices[slot] : -1;
      task.weights[slot] = serves ? gate / (sum + 1e-9f) : routable ? 0.0f : gate;
    }
    if (routable && kept < top_k) atomicAdd(&cut, top_k - kept);
  }
  __syncthreads();
  for (int expert = threadIdx.x; expert < task.num_experts; expert += blockDim.x) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * task.num_experts + expert;
    task.load[at] = load[expert];
    task.dropped[at] = expert == 0 ? cut : 0;
  }
}
