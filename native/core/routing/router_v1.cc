#include "core/routing/router_v1.h"

#include <algorithm>
#include <cmath>

#include "core/routing/router_batch.h"
#include "core/routing/router_scores.h"
#include "core/routing/router_topk.h"

namespace moe {
namespace {

constexpr double kEpsilon = 1e-9;

}  // namespace

void TopkRouterV1::route(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out) {
  const TokenGroups groups(tokens, config_.tokens_per_group);
  std::fill_n(out.expert_load, config_.expert_num, 0u);
  *out.totals = {0.0, 0.0, 0, capacity_v1(config_, groups.full_size())};

  rank_experts(logits, tokens, executor, out);
  double loss = 0.0;
  for (int64_t index = 0; index < groups.count(); ++index) {
    place(groups[index], out);
    loss += balance_loss(groups[index], executor, out);
    out.totals->dropped_choices += finish(groups[index], out);
  }
  if (tokens > 0) out.totals->aux_loss = config_.aux_loss_factor * (loss / static_cast<double>(groups.count()));
}

// Leaves each token's top-k list in out.experts and its gates in out.weights.
void TopkRouterV1::rank_experts(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out) {
  const int32_t num_experts = config_.expert_num, top = config_.num_experts_chosen;
  const int64_t stride = padded_row(num_experts);
  float* const all_scores = grow(scores_, tokens * stride);
  double* const all_reciprocals = grow(reciprocals_, tokens * top);

  executor.parallel_for(tokens, grain_for(stride), [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const float* const row = logits + token * num_experts;
      const float max = routable_max(row, num_experts);
      if (std::isnan(max)) {
        mark_unroutable(out, token, top);
        continue;
      }
      float* const scores = all_scores + token * stride;
      int32_t* const experts = out.experts + token * top;
      float* const gates = out.weights + token * top;
      softmax(row, max, num_experts, scores);
      top_k(scores, num_experts, top, experts, gates);

      // Summed from the smallest up: the score left beside a dominant expert keeps its digits.
      for (int32_t choice = 0; choice < top; ++choice) scores[experts[choice]] = 0.0f;
      double left = sum_of(scores, num_experts);
      for (int32_t choice = top - 1; choice >= 0; --choice) {
        scores[experts[choice]] = gates[choice];
        left += gates[choice];
        all_reciprocals[token * top + choice] = 1.0 / (left + kEpsilon);
      }
    }
  });
}

// What a token that has kept so many choices chooses next.
int32_t TopkRouterV1::choice_after(int64_t token, int32_t kept, const RoutingArrays& out) const {
  const int64_t slot = token * config_.num_experts_chosen + kept;
  return out.weights[slot] == 0.0f ? 0 : out.experts[slot];
}

void TopkRouterV1::place(TokenGroup group, const RoutingArrays& out) {
  const int32_t top = config_.num_experts_chosen;
  const int64_t capacity = capacity_v1(config_, group.size());
  int32_t* const kept = grow(kept_, group.end);
  taken_slots_.assign(config_.expert_num, 0);
  std::fill(kept + group.begin, kept + group.end, 0);

  // A choice's position counts earlier choices of the round that did not fit, too. They only follow once the expert is
  // full, so comparing the slots taken decides the same.
  for (int32_t round = 0; round < top; ++round)
    for (int64_t token = group.begin; token < group.end; ++token) {
      if (kept[token] < round || !is_routable(out, token, top)) continue;
      int64_t& taken = taken_slots_[choice_after(token, round, out)];
      if (taken >= capacity) continue;
      ++taken;
      ++kept[token];
    }
}

// sum over rounds of E^2 * mean over experts of (share of votes * mean share of the scores).
double TopkRouterV1::balance_loss(TokenGroup group, Executor& executor, const RoutingArrays& out) {
  const int32_t top = config_.num_experts_chosen;
  int64_t routable = 0;
  for (int64_t token = group.begin; token < group.end; ++token) routable += is_routable(out, token, top);
  if (routable == 0) return 0.0;

  const int64_t stride = padded_row(config_.expert_num);
  grow(products_, stride);
  executor.parallel_for(stride / kExpertBlock, grain_for(group.size() * top * kExpertBlock / 4),
                        [&](int64_t begin, int64_t end) {
                          for (int64_t block = begin; block < end; ++block)
                            sum_products(group, static_cast<int32_t>(block * kExpertBlock), out);
                        });
  double sum = 0.0;
  for (int32_t expert = 0; expert < config_.expert_num; ++expert) sum += products_[expert];
  return config_.expert_num * sum / (static_cast<double>(routable) * static_cast<double>(routable));
}

// Fills products_ for one block of experts, and erases its scores round by round as choices are kept.
void TopkRouterV1::sum_products(TokenGroup group, int32_t first_expert, const RoutingArrays& out) {
  const int32_t top = config_.num_experts_chosen;
  const int64_t stride = padded_row(config_.expert_num);
  double* const products = products_.data() + first_expert;
  std::fill_n(products, kExpertBlock, 0.0);

  const auto within_block = [&](int32_t expert) { return static_cast<uint32_t>(expert - first_expert) < kExpertBlock; };
  for (int32_t round = 0; round < top; ++round) {
    int64_t votes[kExpertBlock] = {};
    double shares[kExpertBlock] = {};
    for (int64_t token = group.begin; token < group.end; ++token) {
      if (!is_routable(out, token, top)) continue;
      float* const scores = scores_.data() + token * stride;
      const int32_t kept = std::min(kept_[token], round);
      if (kept == round && round > 0) {
        const int32_t last = out.experts[token * top + round - 1];
        if (within_block(last)) scores[last] = 0.0f;
      }
      if (const int32_t choice = choice_after(token, kept, out); within_block(choice)) ++votes[choice - first_expert];
      add_scaled(scores + first_expert, reciprocals_[token * top + kept], shares);
    }
    for (int32_t i = 0; i < kExpertBlock; ++i) products[i] += static_cast<double>(votes[i]) * shares[i];
  }
}

// Weights over what was kept, load, and marks on what was not. Returns how many choices capacity cut.
int64_t TopkRouterV1::finish(TokenGroup group, const RoutingArrays& out) {
  const int32_t top = config_.num_experts_chosen;
  int64_t dropped = 0;
  for (int64_t token = group.begin; token < group.end; ++token) {
    if (!is_routable(out, token, top)) continue;
    int32_t* const experts = out.experts + token * top;
    float* const weights = out.weights + token * top;
    dropped += top - kept_[token];
    float sum = 0.0f;
    for (int32_t choice = 0; choice < kept_[token]; ++choice) sum += weights[choice];
    for (int32_t choice = 0; choice < top; ++choice) {
      if (choice < kept_[token] && weights[choice] != 0.0f) {
        ++out.expert_load[experts[choice]];
        weights[choice] /= sum + static_cast<float>(kEpsilon);
      } else {
        experts[choice] = -1;
        weights[choice] = 0.0f;
      }
    }
  }
  return dropped;
}

}  // namespace moe
