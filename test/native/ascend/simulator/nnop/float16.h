// 16-bit floats by their definition. Rounding is to nearest, ties to even.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace ascend_sim {

inline double from_bfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

inline double from_float16(uint16_t bits) {
  const double sign = bits & 0x8000 ? -1.0 : 1.0;
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  if (exponent == 31) return mantissa ? std::numeric_limits<double>::quiet_NaN() : sign * HUGE_VAL;
  return exponent == 0 ? sign * std::ldexp(mantissa, -24) : sign * std::ldexp(1024 + mantissa, exponent - 25);
}

// `value` to `mantissa` explicit bits, exponents from `smallest` (of the smallest normal number).
inline double round_mantissa(double value, int mantissa, int smallest) {
  if (value == 0 || !std::isfinite(value)) return value;
  const int exponent = std::max(std::ilogb(value), smallest);
  const double step = std::ldexp(1.0, exponent - mantissa);
  return std::nearbyint(value / step) * step;
}

inline uint16_t to_bfloat16(double value) {
  if (std::isnan(value)) return 0x7FC0;
  const double rounded = round_mantissa(value, 7, -126);
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(rounded)) >> 16);
}

inline uint16_t to_float16(double value) {
  if (std::isnan(value)) return 0x7E00;
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(round_mantissa(value, 10, -14));
  if (magnitude >= 65520.0 || magnitude > 65504.0) return sign | 0x7C00;
  if (magnitude < std::ldexp(1.0, -14)) return sign | static_cast<uint16_t>(std::ldexp(magnitude, 24));
  const int exponent = std::ilogb(magnitude);
  const auto mantissa = static_cast<uint16_t>(std::ldexp(magnitude, 10 - exponent)) & 1023;
  return sign | static_cast<uint16_t>((exponent + 15) << 10) | mantissa;
}

}  // namespace ascend_sim
