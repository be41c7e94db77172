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

// Experts from expert_num on are the identity: no slot is given out for them, and no load is counted. The last
// always_chosen_expert_num experts are the last choices of every token. Weights are settled before any drop and not
// again after it. Where exclude_masked_groups leaves fewer experts than a token must choose, it chooses excluded ones
// too, lower index first; without a correction bias their weight is 0.
class TopkRouterV2 {
 public:
  // As in Router.
  TopkRouterV2(const MoEConfig& config, std::span<const float> correction_bias, std::span<const float> expert_scale);

  // As Router::route.
  void route(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out, bool given);

 private:
  // Scratch of a block of tokens, each null where it is not used.
  struct Scratch {
    float* capped;  // [rows], logits
    float* ranks;   // [rows + n_group]
  };

  void choose(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out, bool given);
  void choose_for(int64_t token, const float* logits, const Scratch& scratch, const RoutingArrays& out, bool given);
  void choose_best(const float* ranks, const float* scores, int32_t* experts, float* weights) const;
  void finish_weights(const int32_t* experts, float* weights) const;
  double z_loss(int64_t tokens, const RoutingArrays& out) const;
  double balance_loss(TokenGroup group, Executor& executor, const RoutingArrays& out);
  int64_t place(TokenGroup group, const RoutingArrays& out);

  bool scores_are_shares() const { return config_.score_function == ScoreFunction::kSoftmax; }
  bool ranks_differ_from_scores() const { return config_.balance_via_topk_bias || limits_groups_; }
  bool loss_has_own_choices() const { return config_.balance_via_topk_bias && !config_.aux_losses.empty(); }

  MoEConfig config_;
  std::vector<float> correction_bias_;  // [rows], or empty
  std::vector<float> expert_scale_;     // [E], or empty
  bool limits_groups_;

  std::vector<float> scores_;              // [tokens, padded rows]
  std::vector<float> capped_;              // [blocks of tokens, rows]
  std::vector<float> ranks_;               // [blocks of tokens, rows + n_group]
  std::vector<double> score_sums_;         // [tokens], where scores are no shares of 1
  std::vector<double> squared_logsumexp_;  // [tokens]
  std::vector<int32_t> loss_choices_;      // [tokens, K]: top-k of the scores without the bias
  std::vector<float> loss_scores_;         // [tokens, K]
  std::vector<int64_t> chosen_;            // [E], by tokens of a group
  std::vector<double> score_totals_;       // [padded E], over tokens of a group
};

}  // namespace moe
