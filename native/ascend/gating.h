// Which gating operator means what a layer's routing means, if one does.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "ascend/acl_op.h"
#include "ascend/router_weights.h"
#include "ascend/soc.h"
#include "core/config.h"

namespace moe::ascend {

enum class GatingMethod : uint8_t {
  kOnlyExpert,  // nothing to choose
  kHost,        // the router of native/core, on logits that are copied to the host
  kSoftmax,     // MoeGatingTopKSoftmaxV2
  kScores,      // MoeGatingTopK
};

struct Gating {
  GatingMethod method = GatingMethod::kHost;
  std::string why;  // why the host routes: a clause; empty where it does not
  bool renormalize = false;
  bool sigmoid = false;
  int64_t groups = 1, groups_kept = 1;
  bool group_by_two = false;  // a group scores the sum of its two best, not its best
  double scale = 1, epsilon = 0;
  // Where the largest magnitude of a token is x, its logits are at most factor * x + term in magnitude.
  double logit_factor = 0, logit_term = 0;

  // A batch with finite values up to `largest` has finite logits.
  bool bounds(float largest) const { return logit_factor * largest + logit_term < 1e37; }
};

// An operator is chosen only where it gives what the router of native/core gives, equal scores apart: which of them an
// operator prefers is not documented. So experts of equal weights leave the choice to the host, and so does the
// variable MOE_ASCEND_ROUTER=host.
Gating choose_gating(const LayerSpec& spec, const RouterWeights& router, std::span<const float> correction_bias,
                     const SocProfile& profile, const cann::Operators& operators);

// Runs the operator of `gating` on logits [tokens, E] into weights and experts, [tokens, K] each. correction_bias: [E]
// or null. scratch: of (E + K) * tokens floats.
void run_gating(OperatorQueue& queue, const cann::Operators& operators, const Gating& gating, const Array& logits,
                const float* correction_bias, int64_t top_k, float* weights, int32_t* experts, float* scratch);

}  // namespace moe::ascend
