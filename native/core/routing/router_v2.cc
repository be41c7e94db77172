#include "core/routing/router_v2.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/routing/router_batch.h"
#include "core/routing/router_groups.h"
#include "core/routing/router_scores.h"
#include "core/routing/router_topk.h"

namespace moe {
namespace {

// Tokens share a row of scratch in blocks of this many.
constexpr int64_t kTokenBlock = 16;

}  // namespace

TopkRouterV2::TopkRouterV2(const MoEConfig& config, std::span<const float> correction_bias)
    : config_(config),
      correction_bias_(correction_bias.begin(), correction_bias.end()),
      limits_groups_(limits_groups(config)) {
  for (float& bias : correction_bias_)
    if (std::isnan(bias)) bias = -std::numeric_limits<float>::infinity();
}

void TopkRouterV2::route(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out) {
  const TokenGroups groups(tokens, config_.tokens_per_group);
  std::fill_n(out.expert_load, config_.expert_num, 0u);
  *out.totals = {0.0, 0.0, 0, capacity_v2(config_, groups.full_size())};

  choose(logits, tokens, executor, out);
  if (config_.z_loss_factor != 0.0) out.totals->z_loss = z_loss(tokens, out);
  double loss = 0.0;
  for (int64_t index = 0; index < groups.count(); ++index) {
    if (!config_.aux_losses.empty()) loss += balance_loss(groups[index], executor, out);
    out.totals->dropped_choices += place(groups[index], out);
  }
  if (tokens > 0) out.totals->aux_loss = loss / static_cast<double>(groups.count());
}

void TopkRouterV2::choose(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out) {
  const int32_t num_experts = config_.expert_num, top = config_.num_experts_chosen;
  const int64_t blocks = (tokens + kTokenBlock - 1) / kTokenBlock;
  const int64_t scratch_size = ranks_differ_from_scores() ? num_experts + config_.n_group : 0;
  grow(scores_, tokens * padded_row(num_experts));
  grow(ranks_, blocks * scratch_size);
  if (config_.use_gating_sigmoid) grow(score_sums_, tokens);
  if (config_.z_loss_factor != 0.0) grow(squared_logsumexp_, tokens);
  if (loss_has_own_choices()) {
    grow(loss_choices_, tokens * top);
    grow(loss_scores_, tokens * top);
  }

  executor.parallel_for(blocks, grain_for(kTokenBlock * num_experts), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      for (int64_t token = block * kTokenBlock; token < std::min((block + 1) * kTokenBlock, tokens); ++token)
        choose_for(token, logits + token * num_experts, ranks_.data() + block * scratch_size, out);
  });
}

// scratch: [E + n_group], used where experts are ranked by something else than their scores.
void TopkRouterV2::choose_for(int64_t token, const float* logits, float* scratch, const RoutingArrays& out) {
  const int32_t num_experts = config_.expert_num, top = config_.num_experts_chosen;
  const float max = routable_max(logits, num_experts);
  if (std::isnan(max)) return mark_unroutable(out, token, top);

  float* const scores = scores_.data() + token * padded_row(num_experts);
  if (config_.z_loss_factor != 0.0 || !config_.use_gating_sigmoid) {
    const float sum = softmax(logits, max, num_experts, scores);
    if (config_.z_loss_factor != 0.0) {
      const double logsumexp = static_cast<double>(max) + std::log(static_cast<double>(sum));
      squared_logsumexp_[token] = logsumexp * logsumexp;
    }
  }
  if (config_.use_gating_sigmoid) {
    sigmoid(logits, num_experts, scores);
    score_sums_[token] = sum_of(scores, num_experts);
  }

  const float* ranks = scores;
  if (ranks_differ_from_scores()) {
    std::copy_n(scores, num_experts, scratch);
    if (config_.balance_via_topk_bias)
      for (size_t expert = 0; expert < correction_bias_.size(); ++expert) scratch[expert] += correction_bias_[expert];
    if (limits_groups_) mask_groups(config_, scratch, scratch + num_experts);
    ranks = scratch;
  }

  int32_t* const experts = out.experts + token * top;
  float* const weights = out.weights + token * top;
  top_k(ranks, num_experts, top, experts, weights);
  for (int32_t choice = 0; choice < top; ++choice)
    weights[choice] = config_.balance_via_topk_bias ? scores[experts[choice]] : std::max(weights[choice], 0.0f);

  if (top > 1 && config_.norm_topk_prob) {
    float sum = 0.0f;
    for (int32_t choice = 0; choice < top; ++choice) sum += weights[choice];
    const float divisor = sum + static_cast<float>(config_.norm_topk_epsilon);
    for (int32_t choice = 0; choice < top; ++choice) weights[choice] /= divisor;
  }
  for (int32_t choice = 0; choice < top; ++choice) weights[choice] *= static_cast<float>(config_.routed_scaling_factor);

  if (loss_has_own_choices())
    top_k(scores, num_experts, top, loss_choices_.data() + token * top, loss_scores_.data() + token * top);
}

// factor * mean over the routable tokens of logsumexp(logits)^2.
double TopkRouterV2::z_loss(int64_t tokens, const RoutingArrays& out) const {
  int64_t routable = 0;
  double squares = 0.0;
  for (int64_t token = 0; token < tokens; ++token) {
    if (!is_routable(out, token, config_.num_experts_chosen)) continue;
    ++routable;
    squares += squared_logsumexp_[token];
  }
  return routable == 0 ? 0.0 : config_.z_loss_factor * squares / static_cast<double>(routable);
}

// The group's balance losses, over its choices before any is dropped.
double TopkRouterV2::balance_loss(TokenGroup group, Executor& executor, const RoutingArrays& out) {
  const int32_t num_experts = config_.expert_num, top = config_.num_experts_chosen;
  int64_t routable = 0;
  for (int64_t token = group.begin; token < group.end; ++token) routable += is_routable(out, token, top);
  if (routable == 0) return 0.0;

  const int64_t stride = padded_row(num_experts);
  const int32_t* const choices = loss_has_own_choices() ? loss_choices_.data() : out.experts;
  double* const score_totals = grow(score_totals_, stride);
  executor.parallel_for(stride / kExpertBlock, grain_for(group.size() * kExpertBlock / 4),
                        [&](int64_t begin, int64_t end) {
                          for (int64_t block = begin; block < end; ++block) {
                            double sums[kExpertBlock] = {};
                            for (int64_t token = group.begin; token < group.end; ++token)
                              if (is_routable(out, token, top))
                                add_scaled(scores_.data() + token * stride + block * kExpertBlock,
                                           config_.use_gating_sigmoid ? 1.0 / (score_sums_[token] + 1e-9) : 1.0, sums);
                            std::copy_n(sums, kExpertBlock, score_totals + block * kExpertBlock);
                          }
                        });

  chosen_.assign(num_experts, 0);
  for (int64_t token = group.begin; token < group.end; ++token)
    if (is_routable(out, token, top))
      for (int32_t choice = 0; choice < top; ++choice) ++chosen_[choices[token * top + choice]];

  double loss = 0.0;
  for (const AuxLoss& aux : config_.aux_losses) {
    const int32_t size = num_experts / aux.expert_groups;
    double sum = 0.0;
    for (int32_t first = 0; first < num_experts; first += size) {
      double scores = 0.0, votes = 0.0;
      for (int32_t expert = first; expert < first + size; ++expert) {
        scores += score_totals[expert];
        votes += static_cast<double>(chosen_[expert]);
      }
      sum += (scores / size) * (votes / size);
    }
    loss += aux.factor * num_experts * num_experts * sum / aux.expert_groups;
  }
  return loss / (static_cast<double>(routable) * static_cast<double>(routable) * top);
}

// Gives out the group's slots and drops what finds none. Returns how many choices that were.
int64_t TopkRouterV2::place(TokenGroup group, const RoutingArrays& out) {
  const int32_t top = config_.num_experts_chosen;
  const int64_t capacity = capacity_v2(config_, group.size());
  chosen_.assign(config_.expert_num, 0);
  int64_t dropped = 0;
  const auto place_slot = [&](int64_t slot) {
    const int32_t expert = out.experts[slot];
    if (expert < 0) return;
    if (capacity == kDropless || chosen_[expert] < capacity) {
      ++chosen_[expert];
    } else {
      out.experts[slot] = -1;
      out.weights[slot] = 0.0f;
      ++dropped;
    }
  };
  if (config_.enable_sdrop || capacity == kDropless) {
    for (int64_t slot = group.begin * top; slot < group.end * top; ++slot) place_slot(slot);
  } else {
    for (int32_t choice = 0; choice < top; ++choice)
      for (int64_t token = group.begin; token < group.end; ++token) place_slot(token * top + choice);
  }
  for (int32_t expert = 0; expert < config_.expert_num; ++expert)
    out.expert_load[expert] += static_cast<uint32_t>(chosen_[expert]);
  return dropped;
}

}  // namespace moe
