// MindFormers' TopkRouterV1: choices are made in rounds, and what a round keeps decides what the next may choose.
#pragma once
#include <cstdint>
#include <vector>

#include "core/config.h"
#include "core/host/executor.h"
#include "core/moe_stages.h"
#include "core/routing/router_capacity.h"

namespace moe {

// In each round a token chooses the most probable expert among those it has not kept. A choice that found its expert
// full is made again, in vain, in every later round: so what a token keeps is a prefix of its top-k list.
//
// Where all probabilities left are exactly 0 (logits more than about 103 below the largest, or -infinity), the argmax
// of zeros is expert 0. Such a choice votes for expert 0 in the loss and takes one of its slots, as in MindFormers, but
// its gate is 0, so it is not dispatched: expert -1, weight 0, no load. It counts as dropped only if no slot was left.
class TopkRouterV1 {
 public:
  explicit TopkRouterV1(const MoEConfig& config) : config_(config) {}

  // As Router::route.
  void route(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out);

 private:
  void rank_experts(const float* logits, int64_t tokens, Executor& executor, const RoutingArrays& out);
  void place(TokenGroup group, const RoutingArrays& out);
  double balance_loss(TokenGroup group, Executor& executor, const RoutingArrays& out);
  void sum_products(TokenGroup group, int32_t first_expert, const RoutingArrays& out);
  int64_t finish(TokenGroup group, const RoutingArrays& out);
  int32_t choice_after(int64_t token, int32_t kept, const RoutingArrays& out) const;

  MoEConfig config_;
  std::vector<float> scores_;         // [tokens, padded E], 0 where a choice was kept
  std::vector<double> reciprocals_;   // [tokens, K]: 1 / (what is left of the scores after so many kept choices + 1e-9)
  std::vector<int32_t> kept_;         // [tokens], choices kept, those with gate 0 included
  std::vector<int64_t> taken_slots_;  // [E]
  std::vector<double> products_;      // [padded E]: over rounds, votes for an expert * its summed share of the scores
};

}  // namespace moe
