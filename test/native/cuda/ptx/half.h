// The 16-bit float types as the device converts them: round to nearest even unless said otherwise.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace moe::ptx {

inline float from_bfloat16(uint16_t value) { return std::bit_cast<float>(uint32_t{value} << 16); }
inline uint16_t to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;  // the device's NaN
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline uint16_t to_bfloat16_toward_zero(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fff : static_cast<uint16_t>(bits >> 16);
}

inline float from_float16(uint16_t value) {
  const uint32_t sign = uint32_t{value} >> 15 << 31, exponent = value >> 10 & 31, fraction = value & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | fraction << 13);
  if (exponent == 0) return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::ldexp(float(fraction), -24)));
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}
inline uint16_t to_float16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return 0x7fff;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // rounds to 65536 and beyond
  if (magnitude >= 0x38800000)                        // normal: rebias, round the 13 bits that go
    return static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13));
  // Subnormal: the fraction counts units of 2^-24; nearbyint rounds to even.
  return static_cast<uint16_t>(sign |
                               static_cast<uint16_t>(std::nearbyint(std::ldexp(std::bit_cast<float>(magnitude), 24))));
}

}  // namespace moe::ptx
