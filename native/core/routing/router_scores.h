// From a token's logits to its scores.
#pragma once
#include <cstdint>

#include "core/routing/score_functions.h"

namespace moe {

// Reductions run in this many lanes, which the compiler maps to vectors of any width with the same result.
constexpr int32_t kScoreLanes = 8;

template <class T>
T sum_of_lanes(const T (&lanes)[kScoreLanes]) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// The largest of a token's logits; NaN where the token cannot be routed: a logit is NaN or +infinity, or all are
// -infinity.
float routable_max(const float* logits, int32_t count);

// scores = softmax(logits), [count] each. Returns the sum of e^(logit - max).
float softmax(const float* logits, float max, int32_t count, float* scores);

// scores = sigmoid(logits), [count] each.
void sigmoid(const float* logits, int32_t count, float* scores);

// scores = sqrt(log(1 + e^logits)), [count] each.
void sqrt_softplus(const float* logits, int32_t count, float* scores);

// In double, in an order that depends on `count` alone.
double sum_of(const float* values, int32_t count);

}  // namespace moe
