// Balance losses, z-loss and totals. Sums run over chunks of tokens, then over chunks, in double and in a fixed order.
#include "cuda/kernels/tasks.h"

namespace moe::cuda {
namespace {

struct Chunk {
  int64_t begin, end;
};

__device__ __forceinline__ Chunk chunk_of(const LossTask& task, int64_t index) {
  const int64_t group = index / task.chunks_per_group;
  const int64_t begin = group * task.group_size + index % task.chunks_per_group * kLossChunk;
  const int64_t group_end = min((group + 1) * task.group_size, task.tokens);
  return {begin, min(begin + kLossChunk, group_end)};
}

// Over the block, in a fixed tree; valid in thread 0.
template <class T>
__device__ T block_sum(T value, T* memory) {
  __syncthreads();
  memory[threadIdx.x] = value;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) memory[threadIdx.x] += memory[threadIdx.x + half];
    __syncthreads();
  }
  return memory[0];
}

__device__ __forceinline__ int64_t routable_tokens(const LossTask& task, int64_t group) {
  int64_t tokens = 0;
  for (int chunk = 0; chunk < task.chunks_per_group; ++chunk)
    tokens += task.counts[group * task.chunks_per_group + chunk];
  return tokens;
}

struct ExpertSums {
  double shares;
  int64_t votes;
};

__device__ __forceinline__ ExpertSums sums_of(const LossTask& task, int64_t group, int round, int expert) {
  ExpertSums sums{0.0, 0};
  for (int chunk = 0; chunk < task.chunks_per_group; ++chunk) {
    const int64_t at = ((group * task.chunks_per_group + chunk) * task.rounds + round) * task.num_experts + expert;
    sums.shares += task.shares[at];
    sums.votes += task.votes[at];
  }
  return sums;
}

// Load of every expert, and the number of choices that were cut: in thread 0.
__device__ int64_t sum_load(const LossTask& task, int64_t* memory) {
  int64_t dropped = 0;
  if (task.load && static_cast<int>(threadIdx.x) < task.num_experts) {
    int64_t load = 0;
    for (int64_t group = 0; group < task.groups; ++group) {
      load += task.load[group * task.num_experts + threadIdx.x];
      dropped += task.dropped[group * task.num_experts + threadIdx.x];
    }
    task.expert_load[threadIdx.x] = static_cast<uint32_t>(load);
  }
  return block_sum(dropped, memory);
}

}  // namespace
}  // namespace moe::cuda

// A thread per expert, a block per chunk of tokens.
extern "C" __global__ void __launch_bounds__(128) moe_sum_scores_v1(const moe::cuda::LossTask task) {
  using namespace moe::cuda;
  const int expert = blockIdx.x * blockDim.x + threadIdx.x, top_k = task.top_k;
  const Chunk chunk = chunk_of(task, blockIdx.y);
  for (int round = 0; round < task.rounds; ++round) {
    double shares = 0.0;
    int votes = 0, routable = 0;
    for (int64_t token = chunk.begin; token < chunk.end; ++token) {
      const int32_t* const choices = task.choices + token * top_k;
      if (choices[0] < 0) continue;
      ++routable;
      if (expert >= task.num_experts) continue;
      const int kept = min(task.kept[token], round);
      float score = task.scores[token * task.num_experts + expert];
      for (int choice = 0; choice < kept; ++choice)
        if (choices[choice] == expert) score = 0.0f;  // erased once it was kept
      votes += (task.gates[token * top_k + kept] == 0.0f ? 0 : choices[kept]) == expert;
      shares += task.reciprocals[token * top_k + kept] * static_cast<double>(score);
    }
    if (expert < task.num_experts) {
      const int64_t at = (static_cast<int64_t>(blockIdx.y) * task.rounds + round) * task.num_experts + expert;
      task.shares[at] = shares;
      task.votes[at] = votes;
    }
    if (expert == 0 && round == 0) task.counts[blockIdx.y] = routable;
  }
}

extern "C" __global__ void __launch_bounds__(128) moe_sum_scores_v2(const moe::cuda::LossTask task) {
  using namespace moe::cuda;
  const int expert = blockIdx.x * blockDim.x + threadIdx.x, top_k = task.top_k;
  const Chunk chunk = chunk_of(task, blockIdx.y);
  double shares = 0.0;
  int votes = 0, routable = 0;
  for (int64_t token = chunk.begin; token < chunk.end; ++token) {
    if (task.routable[token * top_k] < 0) continue;
    ++routable;
    if (expert >= task.num_experts) continue;
    for (int choice = 0; choice < top_k; ++choice) votes += task.choices[token * top_k + choice] == expert;
    const double scale = task.score_sums ? 1.0 / (task.score_sums[token] + 1e-9) : 1.0;
    shares += scale * static_cast<double>(task.scores[token * task.num_experts + expert]);
  }
  if (expert < task.num_experts) {
    const int64_t at = static_cast<int64_t>(blockIdx.y) * task.num_experts + expert;
    task.shares[at] = shares;
    task.votes[at] = votes;
  }
  if (expert == 0) task.counts[blockIdx.y] = routable;
}

// One block of 1024: sum over rounds of E^2 * mean over experts of (share of votes * mean share of the scores).
extern "C" __global__ void __launch_bounds__(1024) moe_total_v1(const moe::cuda::LossTask task) {
  using namespace moe::cuda;
  __shared__ double memory[1024];
  const int64_t dropped = sum_load(task, reinterpret_cast<int64_t*>(memory));
  double loss = 0.0;
  if (task.wants_loss && static_cast<int>(threadIdx.x) < task.num_experts)
    for (int64_t group = 0; group < task.groups; ++group) {
      const auto routable = static_cast<double>(routable_tokens(task, group));
      double products = 0.0;
      for (int round = 0; round < task.rounds; ++round) {
        const ExpertSums sums = sums_of(task, group, round, threadIdx.x);
        products += static_cast<double>(sums.votes) * sums.shares;
      }
      if (routable > 0.0) loss += task.num_experts * products / (routable * routable);
    }
  loss = block_sum(loss, memory);
  if (threadIdx.x != 0) return;
  if (task.groups > 0) loss /= static_cast<double>(task.groups);
  *task.totals = {task.aux_factor * loss, 0.0, dropped, task.capacity};
}

// One block of 1024.
extern "C" __global__ void __launch_bounds__(1024) moe_total_v2(const moe::cuda::LossTask task) {
  using namespace moe::cuda;
  __shared__ double memory[1024], scores[kMaxExperts], votes[kMaxExperts];
  const int64_t dropped = sum_load(task, reinterpret_cast<int64_t*>(memory));
  const int thread = threadIdx.x, num_experts = task.num_experts;

  double loss = 0.0;
  for (int64_t group = 0; task.wants_loss && group < task.groups; ++group) {
    const auto routable = static_cast<double>(routable_tokens(task, group));
    __syncthreads();
    if (thread < num_experts) {
      const ExpertSums sums = sums_of(task, group, 0, thread);
      scores[thread] = sums.shares;
      votes[thread] = static_cast<double>(sums.votes);
    }
    __syncthreads();
    if (!(routable > 0.0)) continue;
    for (int aux = 0; aux < task.aux_losses; ++aux) {
      const int groups = task.aux_groups[aux], size = num_experts / groups;
      if (thread >= groups) continue;
      double score = 0.0, vote = 0.0;
      for (int i = 0; i < size; ++i) score += scores[thread * size + i], vote += votes[thread * size + i];
      const double sum = (score / size) * (vote / size);
      loss += task.aux_factors[aux] * num_experts * num_experts * sum / groups / (routable * routable * task.top_k);
    }
  }
  loss = block_sum(loss, memory);

  double squares = 0.0, routable = 0.0;
  for (int64_t token = thread; task.squared_logsumexp && token < task.tokens; token += blockDim.x) {
    if (task.routable[token * task.top_k] < 0) continue;
    squares += task.squared_logsumexp[token];
    routable += 1.0;
  }
  squares = block_sum(squares, memory);
  routable = block_sum(routable, memory);
  if (thread != 0) return;
  if (task.groups > 0) loss /= static_cast<double>(task.groups);
  *task.totals = {loss, routable > 0.0 ? task.z_loss_factor * squares / routable : 0.0, dropped, task.capacity};
}
