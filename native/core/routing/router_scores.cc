#include "core/routing/router_scores.h"

#include <limits>

namespace moe {
namespace {

template <class Sum>
Sum sum_in_lanes(const float* values, int32_t count) {
  Sum lanes[kScoreLanes] = {};
  int32_t i = 0;
  for (; i + kScoreLanes <= count; i += kScoreLanes)
    for (int32_t lane = 0; lane < kScoreLanes; ++lane) lanes[lane] += values[i + lane];
  for (int32_t lane = 0; i < count; ++i, ++lane) lanes[lane] += values[i];
  return sum_of_lanes(lanes);
}

}  // namespace

float routable_max(const float* logits, int32_t count) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float lanes[kScoreLanes];
  for (float& lane : lanes) lane = -kInfinity;
  int32_t unroutable[kScoreLanes] = {};
  int32_t i = 0;
  for (; i + kScoreLanes <= count; i += kScoreLanes)
    for (int32_t lane = 0; lane < kScoreLanes; ++lane) {
      const float logit = logits[i + lane];
      lanes[lane] = logit > lanes[lane] ? logit : lanes[lane];
      unroutable[lane] |= !(logit < kInfinity);
    }
  for (; i < count; ++i) {
    lanes[0] = logits[i] > lanes[0] ? logits[i] : lanes[0];
    unroutable[0] |= !(logits[i] < kInfinity);
  }

  float max = -kInfinity;
  bool any_unroutable = false;
  for (int32_t lane = 0; lane < kScoreLanes; ++lane) {
    max = lanes[lane] > max ? lanes[lane] : max;
    any_unroutable |= unroutable[lane] != 0;
  }
  return any_unroutable || max == -kInfinity ? std::numeric_limits<float>::quiet_NaN() : max;
}

float softmax(const float* logits, float max, int32_t count, float* scores) {
  for (int32_t i = 0; i < count; ++i) scores[i] = exp_of_nonpositive(logits[i] - max);
  const float sum = sum_in_lanes<float>(scores, count);
  for (int32_t i = 0; i < count; ++i) scores[i] /= sum;
  return sum;
}

void sigmoid(const float* logits, int32_t count, float* scores) {
  for (int32_t i = 0; i < count; ++i) scores[i] = sigmoid(logits[i]);
}

void sqrt_softplus(const float* logits, int32_t count, float* scores) {
  for (int32_t i = 0; i < count; ++i) scores[i] = sqrt_softplus(logits[i]);
}

double sum_of(const float* values, int32_t count) { return sum_in_lanes<double>(values, count); }

}  // namespace moe
