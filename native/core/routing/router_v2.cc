#include "core/routing/router_v2.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/routing/router_batch.h"
#include "core/routing/router_groups.h"
#include "core/routing/router_scores.h"
#include "core/routing/router_sparse_mixer.h"
#include "core/routing/router_topk.h"

namespace moe {
namespace {

// Tokens share a row of scratch in blocks of this many.
constexpr int64_t kTokenBlock = 16;

}  // namespace

TopkRouterV2::TopkRouterV2(const MoEConfig& config, std::span<const float> correction_bias,
                           std::span<const float> expert_scale)
    : config_(config),
      correction_bias_(correction_bias.begin(), correction_bias.end()),
      expert_scale_(expert_scale.begin(), expert_scale.end()),
      limits_groups_(limits_groups(config)) {
  for (float& bias : correction_bias_)
    if (std::isnan(bias)) bias = -std::numeric_limits<float>::infinity();
}

void TopkRouterV2::route(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out,
                         bool given) {
  const TokenGroups groups(tokens, config_.tokens_per_group);
  std::fill_n(out.expert_load, config_.expert_num, 0u);
  *out.totals = {0.0, 0.0, 0, capacity_v2(config_, groups.full_size())};

  choose(logits, tokens, executor, out, given);
  if (config_.z_loss_factor != 0.0) out.totals->z_loss = z_loss(tokens, out);
  double loss = 0.0;
  for (int64_t index = 0; index < groups.count(); ++index) {
    if (!config_.aux_losses.empty()) loss += balance_loss(groups[index], executor, out);
    out.totals->dropped_choices += place(groups[index], out);
  }
  if (tokens > 0) out.totals->aux_loss = loss / static_cast<double>(groups.count());
}

void TopkRouterV2::choose(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out,
                          bool given) {
  const int32_t rows = config_.router_rows(), top = config_.num_experts_chosen;
  const int64_t blocks = (tokens + kTokenBlock - 1) / kTokenBlock;
  const int64_t rank_size = ranks_differ_from_scores() ? rows + config_.n_group : 0;
  const int64_t cap_size = config_.logit_soft_cap > 0.0 ? rows : 0;
  grow(scores_, tokens * padded_row(rows));
  grow(ranks_, blocks * rank_size);
  grow(capped_, blocks * cap_size);
  if (!scores_are_shares()) grow(score_sums_, tokens);
  if (config_.z_loss_factor != 0.0) grow(squared_logsumexp_, tokens);
  if (loss_has_own_choices()) {
    grow(loss_choices_, tokens * top);
    grow(loss_scores_, tokens * top);
  }

  executor.parallel_for(blocks, grain_for(kTokenBlock * rows), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const Scratch scratch{cap_size > 0 ? capped_.data() + block * cap_size : nullptr,
                            rank_size > 0 ? ranks_.data() + block * rank_size : nullptr};
      for (int64_t token = block * kTokenBlock; token < std::min((block + 1) * kTokenBlock, tokens); ++token)
        choose_for(token, logits + token * rows, scratch, out, given);
    }
  });
}

void TopkRouterV2::choose_for(int64_t token, const float* logits, const Scratch& scratch, const RoutingArrays& out,
                              bool given) {
  const int32_t rows = config_.router_rows(), top = config_.num_experts_chosen;
  float max = routable_max(logits, rows);
  if (std::isnan(max)) return mark_unroutable(out, token, top);
  if (scratch.capped) {
    const auto cap = static_cast<float>(config_.logit_soft_cap);
    for (int32_t i = 0; i < rows; ++i) scratch.capped[i] = soft_capped(logits[i], cap);
    logits = scratch.capped;
    max = routable_max(logits, rows);
  }

  float* const scores = scores_.data() + token * padded_row(rows);
  if (config_.z_loss_factor != 0.0 || scores_are_shares()) {
    const float sum = softmax(logits, max, rows, scores);
    if (config_.z_loss_factor != 0.0) {
      const double logsumexp = static_cast<double>(max) + std::log(static_cast<double>(sum));
      squared_logsumexp_[token] = logsumexp * logsumexp;
    }
  }
  int32_t* const experts = out.experts + token * top;
  float* const weights = out.weights + token * top;
  if (config_.score_function == ScoreFunction::kSparseMixer) {
    sparse_mixer(logits, max, rows, static_cast<float>(2 * config_.sparsemixer_epsilon), experts, weights);
    return finish_weights(experts, weights);
  }
  if (!scores_are_shares()) {
    if (config_.score_function == ScoreFunction::kSigmoid)
      sigmoid(logits, rows, scores);
    else
      sqrt_softplus(logits, rows, scores);
    score_sums_[token] = sum_of(scores, rows);
  }

  if (given) {
    for (int32_t choice = 0; choice < top; ++choice) weights[choice] = scores[experts[choice]];
    return finish_weights(experts, weights);
  }
  const float* ranks = config_.choose_by_logit ? logits : scores;
  if (ranks_differ_from_scores()) {
    std::copy_n(scores, rows, scratch.ranks);
    if (config_.balance_via_topk_bias)
      for (size_t i = 0; i < correction_bias_.size(); ++i) scratch.ranks[i] += correction_bias_[i];
    if (limits_groups_) mask_groups(config_, scratch.ranks, scratch.ranks + rows);
    ranks = scratch.ranks;
  }
  choose_best(ranks, scores, experts, weights);
  finish_weights(experts, weights);

  if (loss_has_own_choices())
    top_k(scores, rows, top, loss_choices_.data() + token * top, loss_scores_.data() + token * top);
}

// The best experts, then those that every token chooses, and their weights before any normalisation.
void TopkRouterV2::choose_best(const float* ranks, const float* scores, int32_t* experts, float* weights) const {
  const int32_t always = config_.always_chosen_expert_num, best = config_.num_experts_chosen - always;
  const int32_t among = config_.router_rows() - always;
  top_k(ranks, among, best, experts, weights);
  for (int32_t choice = 0; choice < best; ++choice)
    weights[choice] = config_.balance_via_topk_bias || config_.choose_by_logit ? scores[experts[choice]]
                                                                               : std::max(weights[choice], 0.0f);
  for (int32_t i = 0; i < always; ++i) {
    experts[best + i] = among + i;
    weights[best + i] = scores[among + i];
  }
}

void TopkRouterV2::finish_weights(const int32_t* experts, float* weights) const {
  const int32_t top = config_.num_experts_chosen;
  if (config_.normalizes()) {
    float sum = 0.0f;
    for (int32_t choice = 0; choice < top; ++choice) sum += weights[choice];
    const float divisor = sum + static_cast<float>(config_.norm_topk_epsilon);
    for (int32_t choice = 0; choice < top; ++choice) weights[choice] /= divisor;
  }
  for (int32_t choice = 0; choice < top; ++choice) weights[choice] *= static_cast<float>(config_.routed_scaling_factor);
  if (expert_scale_.empty()) return;
  for (int32_t choice = 0; choice < top; ++choice)
    if (experts[choice] < config_.expert_num) weights[choice] *= expert_scale_[experts[choice]];
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
                                           scores_are_shares() ? 1.0 : 1.0 / (score_sums_[token] + 1e-9), sums);
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
    if (expert < 0 || expert >= config_.expert_num) return;
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
