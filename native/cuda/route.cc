#include "cuda/route.h"

#include <algorithm>

#include "core/routing/router_groups.h"

namespace moe::cuda {
namespace {

// Up to so many tokens the product is bound by the latency of its sums: smaller tiles spread it wider.
constexpr int64_t kFewTokens = 64;
// From there on it is bound by its multiply-adds, and every multiprocessor has a large tile.
constexpr int64_t kManyLogits = 64 * 64 * 128;

unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

// Device memory, or null where there is none.
template <class T>
T* data_of(const DeviceMemory& memory) {
  return memory.bytes() > 0 ? memory.as<T>() : nullptr;
}

Totals* totals_of(const RoutingArrays& out) {
  static_assert(sizeof(Totals) == sizeof(RoutingTotals));
  return reinterpret_cast<Totals*>(out.totals);
}

}  // namespace

void RouteStage::run(const CudaRouter& router, Matrix hidden, const RoutingArrays& out, bool given) {
  const MoEConfig& config = router.moe;
  if (config.router_rows() == 1) return route_to_only_expert(hidden, out);
  const int64_t tokens = hidden.rows, slots = tokens * config.num_experts_chosen;
  const int64_t scores = tokens * config.router_rows();
  const bool v1 = config.routing_policy == RoutingPolicy::kTopkRouterV1;
  const bool limited = v1 || config.limits_slots();
  const bool balances = v1 ? config.aux_loss_factor != 0.0 : !config.aux_losses.empty();
  const bool has_z_loss = !v1 && config.z_loss_factor != 0.0;

  float* const logits = logits_.reserve<float>(scores);
  multiply({hidden.floats(), router.matrix.as<float>(), data_of<float>(router.bias), logits, out.expert_load, tokens,
            router.hidden_size, config.router_rows()});

  ChooseTask choose{};
  choose.logits = logits;
  choose.correction_bias = data_of<float>(router.correction_bias);
  choose.expert_scale = data_of<float>(router.expert_scale);
  choose.given = given ? out.experts : nullptr;
  choose.experts = limited ? choices_.reserve<int32_t>(slots) : out.experts;
  choose.weights = limited ? gates_.reserve<float>(slots) : out.weights;
  choose.tokens = tokens;
  choose.num_experts = config.router_rows();
  choose.top_k = config.num_experts_chosen;
  if (balances) choose.scores = scores_.reserve<float>(scores);
  if (v1) {
    if (balances) choose.reciprocals = reciprocals_.reserve<double>(slots);
  } else {
    const bool limits = limits_groups(config);
    choose.groups = limits ? config.n_group : 1;
    choose.kept_groups = config.topk_group;
    choose.norm_epsilon = static_cast<float>(config.norm_topk_epsilon);
    choose.scaling_factor = static_cast<float>(config.routed_scaling_factor);
    choose.real_experts = config.expert_num;
    choose.always_chosen = config.always_chosen_expert_num;
    choose.soft_cap = static_cast<float>(config.logit_soft_cap);
    choose.mixer_width = static_cast<float>(2 * config.sparsemixer_epsilon);
    choose.score_function = static_cast<int32_t>(config.score_function);
    choose.sum_of_two = config.topk_method == TopkMethod::kNoauxTc;
    choose.mask_to_lowest = config.exclude_masked_groups;
    choose.biased = config.balance_via_topk_bias;
    choose.by_logit = config.choose_by_logit;
    choose.normalize = config.normalizes();
    if (balances && config.score_function != ScoreFunction::kSoftmax)
      choose.score_sums = score_sums_.reserve<double>(tokens);
    if (has_z_loss) choose.squared_logsumexp = squares_.reserve<double>(tokens);
    if (balances && config.balance_via_topk_bias) choose.loss_experts = loss_choices_.reserve<int32_t>(slots);
    if (!limited) choose.expert_load = out.expert_load;
    if (!limited && !balances && !has_z_loss) choose.totals = totals_of(out);
  }
  const LaunchShape warps{blocks_for(tokens, kChooseWarps), kChooseWarps * kWarp,
                          static_cast<size_t>(choose_shared_bytes(config.router_rows()))};
  queue_.add(v1 ? kernels::moe_choose_v1 : kernels::moe_choose_v2, warps, choose);
  if (!choose.totals) place(router, choose, out);
}

void RouteStage::route_to_only_expert(Matrix hidden, const RoutingArrays& out) {
  queue_.add(kernels::moe_choose_only, {1, 1024},
             OnlyExpertTask{hidden.floats(), out.experts, out.weights, out.expert_load, totals_of(out), hidden.rows,
                            hidden.cols});
}

const float* RouteStage::logits_of(const DeviceMemory& router, Matrix hidden) {
  float* const logits = shared_logits_.reserve<float>(hidden.rows);
  multiply({hidden.floats(), router.as<float>(), nullptr, logits, nullptr, hidden.rows,
            static_cast<int32_t>(hidden.cols), 1});
  return logits;
}

void RouteStage::multiply(const RouterTask& task) {
  const auto add = [&](const Kernel<RouterTask>& kernel, const RouterTile& tile) {
    queue_.add(kernel,
               {{blocks_for(task.tokens, tile.tokens), blocks_for(task.experts, tile.experts)},
                kRouterThreads,
                static_cast<size_t>(tile.shared_bytes())},
               task);
  };
  if (task.tokens <= kFewTokens)
    add(kernels::moe_router_few, kRouterFew);
  else if (task.tokens * task.experts <= kManyLogits)
    add(kernels::moe_router_many, kRouterMany);
  else
    add(kernels::moe_router_wide, kRouterWide);
}

void RouteStage::place(const CudaRouter& router, ChooseTask& choose, const RoutingArrays& out) {
  const MoEConfig& config = router.moe;
  const bool v1 = config.routing_policy == RoutingPolicy::kTopkRouterV1;
  const TokenGroups groups(choose.tokens, config.tokens_per_group);
  const auto capacity = v1 ? capacity_v1 : capacity_v2;
  PlaceTask task{};
  task.full_capacity = capacity(config, groups.full_size());
  task.last_capacity = capacity(config, groups[groups.count() - 1].size());
  task.group_size = groups.full_size();
  task.tokens = choose.tokens;
  task.num_experts = config.expert_num;
  task.top_k = choose.top_k;
  if (choose.experts != out.experts) {
    task.choices = choose.experts;
    task.gates = choose.weights;
    task.experts = out.experts;
    task.weights = out.weights;
    task.load = load_.reserve<int32_t>(groups.count() * config.expert_num);
    task.dropped = dropped_.reserve<int32_t>(groups.count() * config.expert_num);
    task.token_major = config.enable_sdrop;
    const auto count = static_cast<unsigned>(groups.count());
    if (v1) {
      task.kept = kept_.reserve<int32_t>(choose.tokens);
      queue_.add(kernels::moe_place_v1, {count, 512}, task);
    } else {
      queue_.add(kernels::moe_place_v2, {{blocks_for(config.expert_num, 4), count}, 128}, task);
    }
  }
  total(router, choose, task, out);
}

void RouteStage::total(const CudaRouter& router, const ChooseTask& choose, const PlaceTask& place,
                       const RoutingArrays& out) {
  const MoEConfig& config = router.moe;
  const bool v1 = config.routing_policy == RoutingPolicy::kTopkRouterV1;
  LossTask task{};
  task.choices = choose.loss_experts ? choose.loss_experts : choose.experts;
  task.routable = choose.experts;
  task.gates = choose.weights;
  task.kept = place.kept;
  task.scores = choose.scores;
  task.reciprocals = choose.reciprocals;
  task.score_sums = choose.score_sums;
  task.squared_logsumexp = choose.squared_logsumexp;
  task.load = place.load;
  task.dropped = place.dropped;
  task.expert_load = out.expert_load;
  task.totals = totals_of(out);
  task.aux_factors = data_of<double>(router.aux_factors);
  task.aux_groups = data_of<int32_t>(router.aux_groups);
  task.aux_losses = static_cast<int32_t>(config.aux_losses.size());
  task.aux_factor = config.aux_loss_factor;
  task.z_loss_factor = config.z_loss_factor;
  task.capacity = place.full_capacity;
  task.tokens = choose.tokens;
  task.group_size = place.group_size;
  task.groups = (choose.tokens - 1) / place.group_size + 1;
  task.chunks_per_group = static_cast<int32_t>((place.group_size + kLossChunk - 1) / kLossChunk);
  task.num_experts = config.expert_num;
  task.top_k = choose.top_k;
  task.rounds = v1 ? choose.top_k : 1;
  task.wants_loss = choose.scores != nullptr;
  if (task.wants_loss) {
    const int64_t chunks = task.groups * task.chunks_per_group, sums = chunks * task.rounds * task.num_experts;
    task.shares = shares_.reserve<double>(sums);
    task.votes = votes_.reserve<int32_t>(sums);
    task.counts = counts_.reserve<int32_t>(chunks);
    queue_.add(v1 ? kernels::moe_sum_scores_v1 : kernels::moe_sum_scores_v2,
               {{blocks_for(task.num_experts, 128), static_cast<unsigned>(chunks)}, 128}, task);
  }
  queue_.add(v1 ? kernels::moe_total_v1 : kernels::moe_total_v2, {1, 1024}, task);
}

}  // namespace moe::cuda
