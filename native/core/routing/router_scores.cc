#include "core/routing/router_scores.h"

#include <cmath>
#include <limits>

namespace moe {
namespace {

// Reductions run in this many lanes, which the compiler maps to vectors of any width with the same result.
constexpr int32_t kLanes = 8;

template <class T>
T sum_of_lanes(const T (&lanes)[kLanes]) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

template <class Sum>
Sum sum_in_lanes(const float* values, int32_t count) {
  Sum lanes[kLanes] = {};
  int32_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int32_t lane = 0; lane < kLanes; ++lane) lanes[lane] += values[i + lane];
  for (int32_t lane = 0; i < count; ++i, ++lane) lanes[lane] += values[i];
  return sum_of_lanes(lanes);
}

}  // namespace

float routable_max(const float* logits, int32_t count) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float lanes[kLanes];
  for (float& lane : lanes) lane = -kInfinity;
  int32_t unroutable[kLanes] = {};
  int32_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int32_t lane = 0; lane < kLanes; ++lane) {
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
  for (int32_t lane = 0; lane < kLanes; ++lane) {
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
  for (int32_t i = 0; i < count; ++i) {
    const float e = exp_of_nonpositive(-std::fabs(logits[i]));
    const int32_t negative = std::bit_cast<int32_t>(logits[i]) >> 31;  // all bits of it, or none
    const float numerator =
        std::bit_cast<float>((std::bit_cast<int32_t>(e) & negative) | (std::bit_cast<int32_t>(1.0f) & ~negative));
    scores[i] = numerator / (1.0f + e);
  }
}

void sqrt_softplus(const float* logits, int32_t count, float* scores) {
  for (int32_t i = 0; i < count; ++i) scores[i] = sqrt_softplus(logits[i]);
}

double sum_of(const float* values, int32_t count) { return sum_in_lanes<double>(values, count); }

}  // namespace moe
