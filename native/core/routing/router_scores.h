// From a token's logits to its scores. One exponential of our own, built of correctly rounded steps, so that a token is
// routed alike on every machine, whatever its math library.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace moe {

// e^x for x <= 0 within 1.1 units in the last place, subnormal results included; 0 below -104, and for -infinity.
inline float exp_of_nonpositive(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;  // nine bits: a multiple of it by any exponent is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRounder = 0x1.8p23f;  // adding it leaves the nearest integer in the low bits

  // Clamped as integers: a comparison of floats would be a branch, and the loops around would not become vectors.
  constexpr int32_t kMagnitude = 0x7fffffff;
  const float clamped =
      -std::bit_cast<float>(std::min(std::bit_cast<int32_t>(x) & kMagnitude, std::bit_cast<int32_t>(105.0f)));
  const float shifted = clamped * kLog2E + kRounder;
  const float exponent = shifted - kRounder;
  const float r = (clamped - exponent * kLn2High) - exponent * kLn2Low;
  float series = 1.9875691500e-4f;  // (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2
  series = series * r + 1.3981999507e-3f;
  series = series * r + 8.3334519073e-3f;
  series = series * r + 4.1665795894e-2f;
  series = series * r + 1.6666665459e-1f;
  series = series * r + 5.0000001201e-1f;
  const float mantissa = (series * (r * r) + r) + 1.0f;

  // 2^exponent in two factors: the exponents of subnormal results do not fit one.
  const int32_t whole = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRounder);
  const int32_t half = whole >> 1;
  return mantissa * std::bit_cast<float>((half + 127) << 23) * std::bit_cast<float>((whole - half + 127) << 23);
}

// e^x - 1 for x <= 0, as exact beside its own size.
inline float expm1_of_nonpositive(float x) {
  float series = 1.9875691500e-4f;
  series = series * x + 1.3981999507e-3f;
  series = series * x + 8.3334519073e-3f;
  series = series * x + 4.1665795894e-2f;
  series = series * x + 1.6666665459e-1f;
  series = series * x + 5.0000001201e-1f;
  const float near = series * (x * x) + x, far = exp_of_nonpositive(x) - 1.0f;
  return x > -0.34f ? near : far;
}

// cap * tanh(logit / cap), but for -infinity, which stays what it is: an expert that is switched off.
inline float soft_capped(float logit, float cap) {
  const float ratio = logit / cap;
  const float e = expm1_of_nonpositive(-2.0f * std::fabs(ratio));
  return std::isinf(logit) ? logit : cap * std::copysign(-e / (2.0f + e), ratio);
}

// log(1 + y) / y for y from 0 to 1, by the series of the inverse hyperbolic tangent.
inline float log1p_ratio(float y) {
  const float s = y / (2.0f + y), square = s * s;
  float series = 1.0f / 17;
  series = series * square + 1.0f / 15;
  series = series * square + 1.0f / 13;
  series = series * square + 1.0f / 11;
  series = series * square + 1.0f / 9;
  series = series * square + 1.0f / 7;
  series = series * square + 1.0f / 5;
  series = series * square + 1.0f / 3;
  series = series * square + 1.0f;
  return series * (2.0f / (2.0f + y));
}

// sqrt(log(1 + e^x)), which for x far below 0 is e^(x / 2).
inline float sqrt_softplus(float x) {
  const float root = exp_of_nonpositive(-0.5f * std::fabs(x)), power = root * root, ratio = log1p_ratio(power);
  return x < 0.0f ? root * std::sqrt(ratio) : std::sqrt(x + power * ratio);
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
