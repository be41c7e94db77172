// What makes a score of a logit, one text for hosts and GPUs. One exponential of our own, built of correctly rounded
// steps of which none is contracted, so that a token is routed alike on every machine, whatever its math library.
#pragma once
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define MOE_HOST_AND_DEVICE __host__ __device__ __forceinline__
#else
#define MOE_HOST_AND_DEVICE inline
#endif

namespace moe {

// As std::bit_cast, which nvcc's C++17 lacks.
MOE_HOST_AND_DEVICE int32_t as_bits(float x) { return __builtin_bit_cast(int32_t, x); }
MOE_HOST_AND_DEVICE float as_float(int32_t bits) { return __builtin_bit_cast(float, bits); }

// (e^x - 1 - x) / x^2 for |x| <= ln(2) / 2.
MOE_HOST_AND_DEVICE float exp_series(float x) {
  float series = 1.9875691500e-4f;
  series = series * x + 1.3981999507e-3f;
  series = series * x + 8.3334519073e-3f;
  series = series * x + 4.1665795894e-2f;
  series = series * x + 1.6666665459e-1f;
  return series * x + 5.0000001201e-1f;
}

// e^x for x <= 0 within 1.1 units in the last place, subnormal results included; 0 below -104, and for -infinity.
MOE_HOST_AND_DEVICE float exp_of_nonpositive(float x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;  // nine bits: a multiple of it by any exponent is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits

  // Clamped as integers: a comparison of floats would be a branch, and the loops around would not become vectors.
  const int32_t magnitude = as_bits(x) & 0x7fffffff, largest = as_bits(105.0f);
  const float clamped = -as_float(magnitude < largest ? magnitude : largest);
  const float shifted = clamped * kLog2E + kRounder;
  const float exponent = shifted - kRounder;
  const float r = (clamped - exponent * kLn2High) - exponent * kLn2Low;
  const float mantissa = (exp_series(r) * (r * r) + r) + 1.0f;

  // 2^exponent in two factors: the exponents of subnormal results do not fit one.
  const int32_t whole = as_bits(shifted) - as_bits(kRounder);
  const int32_t half = whole >> 1;
  return mantissa * as_float((half + 127) << 23) * as_float((whole - half + 127) << 23);
}

// e^x - 1 for x <= 0, as exact beside its own size.
MOE_HOST_AND_DEVICE float expm1_of_nonpositive(float x) {
  const float near = exp_series(x) * (x * x) + x, far = exp_of_nonpositive(x) - 1.0f;
  return x > -0.34f ? near : far;
}

// cap * tanh(logit / cap), but for -infinity, which stays what it is: an expert that is switched off.
MOE_HOST_AND_DEVICE float soft_capped(float logit, float cap) {
  const float ratio = logit / cap;
  const float e = expm1_of_nonpositive(-2.0f * std::fabs(ratio));
  return std::isinf(logit) ? logit : cap * std::copysign(-e / (2.0f + e), ratio);
}

// 1 / (1 + e^-x), as exact far below 0.
MOE_HOST_AND_DEVICE float sigmoid(float x) {
  const float e = exp_of_nonpositive(-std::fabs(x));
  const int32_t negative = as_bits(x) >> 31;  // all bits of it, or none
  return as_float((as_bits(e) & negative) | (as_bits(1.0f) & ~negative)) / (1.0f + e);
}

// log(1 + y) / y for y from 0 to 1, by the series of the inverse hyperbolic tangent.
MOE_HOST_AND_DEVICE float log1p_ratio(float y) {
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
MOE_HOST_AND_DEVICE float sqrt_softplus(float x) {
  const float root = exp_of_nonpositive(-0.5f * std::fabs(x)), power = root * root, ratio = log1p_ratio(power);
  return x < 0.0f ? root * std::sqrt(ratio) : std::sqrt(x + power * ratio);
}

}  // namespace moe

#undef MOE_HOST_AND_DEVICE
