#include "ascend/gating.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/routing/router_groups.h"

namespace moe::ascend {
namespace {

using cann::DataType;

// Weights change by less than a rounding of float32 where their sum, at least K / E, is this much larger or smaller.
constexpr double kNegligible = 1e-8;
constexpr int64_t kMostChoices = 1024, kGroupBlock = 32, kMostScores = 2048, kSmallestGroup = 3, kMostSorted = 10240;

bool host_is_forced() {
  const char* const value = std::getenv("MOE_ASCEND_ROUTER");
  const std::string choice = value ? value : "";
  if (choice == "host") return true;
  if (choice.empty() || choice == "auto") return false;
  throw Error(ErrorCode::kConfig, "Expected MOE_ASCEND_ROUTER to be 'auto' or 'host', got '" + choice + "'");
}

bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

// The largest sum of magnitudes of an expert's weights.
double largest_sum(const RouterWeights& router) {
  std::vector<double> sums(router.columns, 0.0);
  for (size_t i = 0; i < router.host.size(); ++i)
    sums[i % router.columns] += std::abs(static_cast<double>(router.host[i]));
  return *std::max_element(sums.begin(), sums.end());
}

// Two experts that every token scores alike.
bool has_equal_experts(const RouterWeights& router, std::span<const float> correction_bias) {
  const int64_t experts = router.columns, depth = static_cast<int64_t>(router.host.size()) / experts;
  const auto value = [&](int64_t expert, int64_t i) {
    if (i < depth) return router.host[i * experts + expert];
    if (i == depth) return router.host_bias.empty() ? 0.0f : router.host_bias[expert];
    return correction_bias.empty() ? 0.0f : correction_bias[expert];
  };
  const auto compare = [&](int64_t a, int64_t b) {
    for (int64_t i = 0; i < depth + 2; ++i)
      if (value(a, i) != value(b, i)) return value(a, i) < value(b, i) ? -1 : 1;
    return 0;
  };
  std::vector<int64_t> order(experts);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return compare(a, b) < 0; });
  return std::adjacent_find(order.begin(), order.end(), [&](int64_t a, int64_t b) { return compare(a, b) == 0; }) !=
         order.end();
}

// What no gating operator does, as a clause; empty where there is nothing of the kind.
std::string beyond_operators(const MoEConfig& moe, const SocProfile& profile) {
  if (!profile.gating) return std::string("no operator of ") + profile.family + " keeps logits in float32";
  if (moe.routing_policy == RoutingPolicy::kTopkRouterV1) return "no operator has the capacity rounds of TopkRouterV1";
  if (moe.limits_slots()) return "no operator has TopkRouterV2's capacity";
  if (moe.score_function > ScoreFunction::kSigmoid) return "the operators score by softmax or sigmoid";
  if (moe.logit_soft_cap > 0.0) return "no operator caps logits";
  if (moe.choose_by_logit) return "no operator chooses by logit and weighs by score";
  if (moe.zero_expert_num > 0) return "no operator knows of identity experts";
  if (moe.always_chosen_expert_num > 0) return "no operator chooses some experts always";
  if (moe.weight_on_input) return "weights on the input are multiplied in the order of choices";
  if (moe.num_experts_chosen == 1 && moe.normalizes()) return "no operator normalises a single choice";
  if (!moe.aux_losses.empty() || moe.z_loss_factor != 0.0) return "no operator computes balance losses or the z-loss";
  if (moe.num_experts_chosen > kMostChoices) return "the operators choose at most 1024 experts";
  if (moe.expert_num > kMostSorted) return "MoeInitRoutingV3 counts the load of at most 10240 experts";
  return "";
}

std::string beyond_scores(const MoEConfig& moe, bool normalizes, bool groups) {
  const bool sigmoid = moe.score_function == ScoreFunction::kSigmoid;
  if (sigmoid && !normalizes) return "MoeGatingTopK always normalises sigmoid scores";
  if (!sigmoid && normalizes) return "MoeGatingTopK of some releases does not normalise softmax scores";
  if (groups && !moe.exclude_masked_groups) return "no operator scores masked groups 0";
  // Without a limit all experts are one group, which the operator checks like any other.
  const int64_t count = groups ? moe.n_group : 1, kept = groups ? moe.topk_group : 1, size = moe.expert_num / count;
  if (size < kSmallestGroup) return "MoeGatingTopK takes groups of three experts or more";
  if (moe.num_experts_chosen > size * kept) return "the groups kept have fewer experts than a token chooses";
  if ((size + kGroupBlock - 1) / kGroupBlock * kGroupBlock * count > kMostScores)
    return "MoeGatingTopK takes at most 2048 experts, its groups rounded up to 32";
  return "";
}

}  // namespace

Gating choose_gating(const LayerSpec& spec, const RouterWeights& router, std::span<const float> correction_bias,
                     const SocProfile& profile, const cann::Operators& operators) {
  const MoEConfig& moe = spec.moe;
  const bool sigmoid = moe.score_function == ScoreFunction::kSigmoid;
  Gating gating;
  gating.logit_factor = largest_sum(router);
  for (const float bias : router.host_bias)
    gating.logit_term = std::max(gating.logit_term, std::abs(static_cast<double>(bias)));
  gating.scale = moe.routed_scaling_factor;
  gating.epsilon = moe.norm_topk_epsilon;
  gating.sigmoid = sigmoid;

  const auto on_host = [&](std::string why) {
    gating.method = GatingMethod::kHost;
    gating.why = std::move(why);
    return gating;
  };
  if (host_is_forced()) return on_host("MOE_ASCEND_ROUTER says so");
  if (std::string why = beyond_operators(moe, profile); !why.empty()) return on_host(std::move(why));
  if (!all_finite(router.host) || !all_finite(router.host_bias) || !all_finite(correction_bias))
    return on_host("a weight of the router is not finite");
  if (has_equal_experts(router, correction_bias))
    return on_host("two experts have the same router weights, and operators do not say which of equals they choose");

  const bool normalizes = moe.normalizes(), groups = limits_groups(moe);
  if (!sigmoid && !groups && !moe.balance_via_topk_bias) {
    if (!operators.gating_softmax_v2) return on_host("CANN lacks MoeGatingTopKSoftmaxV2");
    if (normalizes && moe.norm_topk_epsilon > kNegligible) return on_host("no operator adds that `normTopkEpsilon`");
    gating.method = GatingMethod::kSoftmax;
    gating.renormalize = normalizes;
    return gating;
  }
  if (!operators.gating) return on_host("CANN before 8.5 lacks MoeGatingTopK");
  if (std::string why = beyond_scores(moe, normalizes, groups); !why.empty()) return on_host(std::move(why));
  gating.method = GatingMethod::kScores;
  if (groups) {
    gating.groups = moe.n_group;
    gating.groups_kept = moe.topk_group;
    gating.group_by_two = moe.topk_method == TopkMethod::kNoauxTc;
  }
  return gating;
}

void run_gating(OperatorQueue& queue, const cann::Operators& operators, const Gating& gating, const Array& logits,
                const float* correction_bias, int64_t top_k, float* weights, int32_t* experts, float* scratch) {
  const int64_t tokens = logits.dims.values[0], num_experts = logits.dims.values[1];
  const Array chosen = array_of(experts, DataType::kInt32, {tokens, top_k});
  const Array out = array_of(weights, DataType::kFloat32, {tokens, top_k});
  if (gating.method == GatingMethod::kSoftmax) {
    const bool scaled = gating.scale != 1.0;
    const Array unscaled = array_of(scratch, DataType::kFloat32, {tokens, top_k});
    queue.run(operators.gating_softmax_v2, logits, nullptr, top_k, gating.renormalize ? 1 : 0, false,
              scaled ? unscaled : out, chosen, nullptr);
    if (scaled) queue.run(operators.muls, unscaled, static_cast<float>(gating.scale), out);
    return;
  }
  const Array scores = array_of(scratch, DataType::kFloat32, {tokens, num_experts});
  std::optional<Array> bias;
  if (correction_bias) bias = array_of(correction_bias, DataType::kFloat32, {num_experts});
  queue.run(operators.gating, logits, bias, top_k, gating.groups_kept, gating.groups, gating.group_by_two ? 1 : 0, 0,
            gating.sigmoid ? 1 : 0, false, gating.scale, gating.epsilon, out, chosen, scores);
}

}  // namespace moe::ascend
