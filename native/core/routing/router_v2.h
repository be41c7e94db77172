// MindFormers' TopkRouterV2: scores, one top-k choice, weights, and then what capacity cuts.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/config.h"
#include "core/host/executor.h"
#include "core/moe_stages.h"
#include "core/routing/router_capacity.h"

namespace moe {

// Weights are settled before any drop and not again after it. Where exclude_masked_groups leaves fewer experts than a
// token must choose, it chooses excluded ones too, lower index first; without a correction bias their weight is 0.
class TopkRouterV2 {
 public:
  // correction_bias: as in Router.
  TopkRouterV2(const MoEConfig& config, std::span<const float> correction_bias);

  // As Router::route.
  void route(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out);

 private:
  void choose(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out);
  void choose_for(int64_t token, const float* logits, float* scratch, const RoutingArrays& out);
  double z_loss(int64_t tokens, const RoutingArrays& out) const;
  double balance_loss(TokenGroup group, Executor& executor, const RoutingArrays& out);
  int64_t place(TokenGroup group, const RoutingArrays& out);

  bool ranks_differ_from_scores() const { return config_.balance_via_topk_bias || limits_groups_; }
  bool loss_has_own_choices() const { return config_.balance_via_topk_bias && !config_.aux_losses.empty(); }

  MoEConfig config_;
  std::vector<float> correction_bias_;  // [E], or empty
  bool limits_groups_;

  std::vector<float> scores_;              // [tokens, padded E]
  std::vector<float> ranks_;               // [blocks of tokens, E + n_group]
  std::vector<double> score_sums_;         // [tokens], of sigmoid scores
  std::vector<double> squared_logsumexp_;  // [tokens]
  std::vector<int32_t> loss_choices_;      // [tokens, K]: top-k of the scores without the bias
  std::vector<float> loss_scores_;         // [tokens, K]
  std::vector<int64_t> chosen_;            // [E], by tokens of a group
  std::vector<double> score_totals_;       // [padded E], over tokens of a group
};

}  // namespace moe
