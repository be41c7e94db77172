#include "core/routing/router_sparse_mixer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/routing/router_scores.h"

namespace moe {
namespace {

// The sum is taken in lanes, as those of scores are.
float weight_of(const float* logits, int32_t count, int32_t without, float best, float width) {
  float lanes[kScoreLanes] = {};
  for (int32_t i = 0; i < count; ++i) {
    const bool is_far = (best - logits[i]) / std::max(std::fabs(logits[i]), best) > width;
    if (i != without && !is_far) lanes[i % kScoreLanes] += exp_of_nonpositive(logits[i] - best);
  }
  return 1.0f / sum_of_lanes(lanes);
}

}  // namespace

void sparse_mixer(const float* logits, float max, int32_t count, float width, int32_t* experts, float* weights) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  const auto first = static_cast<int32_t>(std::find(logits, logits + count, max) - logits);
  int32_t second = first == 0 ? 1 : 0;
  for (int32_t i = second + 1; i < count; ++i)
    if (i != first && logits[i] > logits[second]) second = i;
  experts[0] = first;
  experts[1] = second;
  weights[0] = weight_of(logits, count, -1, max, width);
  weights[1] = logits[second] == kLowest ? 0.0f : weight_of(logits, count, first, logits[second], width);
}

}  // namespace moe
