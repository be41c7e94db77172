// What each token chooses, before capacity: one warp per token.
#include "cuda/kernels/scores.cuh"

namespace moe::cuda {
namespace {

// Of moe::ScoreFunction.
constexpr int kSoftmaxScores = 0, kSigmoidScores = 1, kSparseMixer = 3;

extern __shared__ float choose_memory[];

struct TokenWarp {
  int lane;
  int64_t token;
  float* logits;     // [E]
  int32_t* experts;  // [K]
  float* weights;    // [K]
  float* scores;     // shared, [3][E]
};

__device__ __forceinline__ TokenWarp token_of(const ChooseTask& task) {
  const int warp = threadIdx.x / kWarp;
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kChooseWarps + warp;
  return {static_cast<int>(threadIdx.x % kWarp),  token,
          task.logits + token * task.num_experts, task.experts + token * task.top_k,
          task.weights + token * task.top_k,      choose_memory + warp * 3 * task.num_experts};
}

__device__ __forceinline__ void mark_unroutable(const ChooseTask& task, const TokenWarp& at) {
  for (int choice = at.lane; choice < task.top_k; choice += kWarp) {
    at.experts[choice] = -1;
    at.weights[choice] = __int_as_float(0x7fc00000);
  }
}

__device__ __forceinline__ void save_scores(const ChooseTask& task, const TokenWarp& at) {
  if (!task.scores) return;
  for (int i = at.lane; i < task.num_experts; i += kWarp) task.scores[at.token * task.num_experts + i] = at.scores[i];
}

}  // namespace
}  // namespace moe::cuda

extern "C" __global__ void __launch_bounds__(moe::cuda::kChooseWarps* moe::cuda::kWarp)
    moe_choose_v1(const moe::cuda::ChooseTask task) {
  using namespace moe::cuda;
  const TokenWarp at = token_of(task);
  if (at.token >= task.tokens) return;
  float max;
  if (!routable_max(at.logits, task.num_experts, at.lane, max)) return mark_unroutable(task, at);
  softmax(at.logits, max, task.num_experts, at.lane, at.scores);
  save_scores(task, at);
  top_k(at.scores, task.num_experts, task.top_k, at.lane, [&](int choice, int expert, float gate) {
    if (at.lane == 0) at.experts[choice] = expert, at.weights[choice] = gate;
  });
  if (!task.reciprocals) return;

  // Summed from the smallest up: the score left beside a dominant expert keeps its digits.
  __syncwarp();
  if (at.lane == 0)
    for (int choice = 0; choice < task.top_k; ++choice) at.scores[at.experts[choice]] = 0.0f;
  __syncwarp();
  double left = sum_in_lanes<double>(at.scores, task.num_experts, at.lane);
  if (at.lane == 0)
    for (int choice = task.top_k - 1; choice >= 0; --choice) {
      left += at.weights[choice];
      task.reciprocals[at.token * task.top_k + choice] = 1.0 / (left + 1e-9);
    }
}

extern "C" __global__ void __launch_bounds__(moe::cuda::kChooseWarps* moe::cuda::kWarp)
    moe_choose_v2(const moe::cuda::ChooseTask task) {
  using namespace moe::cuda;
  const TokenWarp at = token_of(task);
  if (task.totals && blockIdx.x == 0 && threadIdx.x == 0) *task.totals = {0.0, 0.0, 0, -1};
  if (at.token >= task.tokens) return;
  float max;
  if (!routable_max(at.logits, task.num_experts, at.lane, max)) return mark_unroutable(task, at);

  if (task.soft_cap > 0.0f) {
    for (int i = at.lane; i < task.num_experts; i += kWarp)
      at.logits[i] = moe::soft_capped(at.logits[i], task.soft_cap);
    __syncwarp();
    routable_max(at.logits, task.num_experts, at.lane, max);
  }

  float* const ranks = at.scores + task.num_experts;
  const bool shares = task.score_function == kSoftmaxScores;
  if (task.squared_logsumexp || shares) {
    const float sum = softmax(at.logits, max, task.num_experts, at.lane, at.scores);
    if (task.squared_logsumexp && at.lane == 0) {
      const double logsumexp = static_cast<double>(max) + log(static_cast<double>(sum));
      task.squared_logsumexp[at.token] = logsumexp * logsumexp;
    }
  }
  const bool mixes = task.score_function == kSparseMixer;
  if (!shares && !mixes) {
    if (task.score_function == kSigmoidScores)
      sigmoids(at.logits, task.num_experts, at.lane, at.scores);
    else
      sqrt_softpluses(at.logits, task.num_experts, at.lane, at.scores);
    if (task.score_sums) {
      const double sum = sum_in_lanes<double>(at.scores, task.num_experts, at.lane);
      if (at.lane == 0) task.score_sums[at.token] = sum;
    }
  }
  save_scores(task, at);
  const bool by_logit = mixes || task.by_logit;
  for (int i = at.lane; i < task.num_experts; i += kWarp)
    ranks[i] = by_logit                              ? at.logits[i]
               : task.biased && task.correction_bias ? at.scores[i] + task.correction_bias[i]
                                                     : at.scores[i];
  __syncwarp();
  if (task.groups > 1) mask_groups(task, ranks, ranks + task.num_experts, at.lane);

  float sum = 0.0f;
  const auto choose = [&](int choice, int expert, float weight) {
    sum += weight;
    if (at.lane == 0) at.experts[choice] = expert, at.weights[choice] = weight;
  };
  const int best = task.top_k - task.always_chosen, among = task.num_experts - task.always_chosen;
  if (mixes) {
    int first = 0;
    top_k(ranks, task.num_experts, 2, at.lane, [&](int choice, int expert, float logit) {
      const int without = choice == 0 ? -1 : first;
      first = expert;
      const float weight = mixer_weight(ranks, task.num_experts, without, logit, task.mixer_width, at.lane, at.scores);
      choose(choice, expert, logit == -__builtin_huge_valf() ? 0.0f : weight);
    });
  } else if (task.given) {
    for (int choice = 0; choice < task.top_k; ++choice) {
      const int expert = task.given[at.token * task.top_k + choice];
      choose(choice, expert, at.scores[expert]);
    }
  } else {
    const bool by_score = task.biased || task.by_logit;
    top_k(ranks, among, best, at.lane, [&](int choice, int expert, float rank) {
      choose(choice, expert, by_score ? at.scores[expert] : rank < 0.0f ? 0.0f : rank);
    });
    for (int i = 0; i < task.always_chosen; ++i) choose(best + i, among + i, at.scores[among + i]);
  }
  if (task.loss_experts)
    top_k(at.scores, task.num_experts, task.top_k, at.lane, [&](int choice, int expert, float) {
      if (at.lane == 0) task.loss_experts[at.token * task.top_k + choice] = expert;
    });
  if (at.lane != 0) return;
  const float divisor = sum + task.norm_epsilon;
  for (int choice = 0; choice < task.top_k; ++choice) {
    const int expert = at.experts[choice];
    const bool is_real = expert < task.real_experts;
    float weight = at.weights[choice];
    if (task.normalize) weight = weight / divisor;
    weight = weight * task.scaling_factor;
    at.weights[choice] = task.expert_scale && is_real ? weight * task.expert_scale[expert] : weight;
    if (task.expert_load && is_real) atomicAdd(task.expert_load + expert, 1u);
  }
}

extern "C" __global__ void __launch_bounds__(1024) moe_choose_only(const moe::cuda::OnlyExpertTask task) {
  using namespace moe::cuda;
  __shared__ uint32_t served;
  if (threadIdx.x == 0) served = 0;
  __syncthreads();
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int64_t token = warp; token < task.tokens; token += blockDim.x / kWarp) {
    const float* const hidden = task.hidden + token * task.hidden_size;
    bool finite = true;
    for (int i = lane; i < task.hidden_size; i += kWarp) finite &= fabsf(hidden[i]) < __builtin_huge_valf();
    finite = __all_sync(kAllLanes, finite);
    if (lane != 0) continue;
    task.experts[token] = finite ? 0 : -1;
    task.weights[token] = finite ? 1.0f : __int_as_float(0x7fc00000);
    if (finite) atomicAdd(&served, 1u);
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  *task.expert_load = served;
  *task.totals = {0.0, 0.0, 0, -1};
}
