#include "core/weights/float16.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"

namespace moe {

uint16_t to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((bits >> 16) | 0x40);  // quiet NaN
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float from_float16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t magnitude = bits & 0x7fff;
  if (magnitude >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | ((magnitude & 0x3ff) << 13));
  // Scaling by 2^112 moves float16's exponent range, subnormals included, onto float32's.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

uint16_t to_float16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // rounds to 2^16 or beyond
  if (magnitude < 0x38800000) {                       // below 2^-14: float32's own rounding at 2^-24 steps
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5f)));
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13));
}

float from_float8_e4m3(uint8_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80) << 24, magnitude = bits & 0x7f;
  if (magnitude == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  // Scaling by 2^120 moves the exponent range, subnormals included, onto float32's.
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude << 20) * 0x1p120f));
}

float from_float8_e8m0(uint8_t bits) {
  if (bits == 0xff) return std::numeric_limits<float>::quiet_NaN();
  return std::ldexp(1.0f, static_cast<int>(bits) - 127);
}

namespace {

float same(float value) { return value; }

// Branches on the value would cost more than a table in L1.
float float8_from_table(uint8_t bits) {
  static const auto table = [] {
    std::array<float, 256> values{};
    for (size_t i = 0; i < values.size(); ++i) values[i] = from_float8_e4m3(static_cast<uint8_t>(i));
    return values;
  }();
  return table[bits];
}

template <class Bits, float (*kWiden)(Bits)>
void read_each(const void* data, int64_t first, int64_t step, int64_t count, float* to, int64_t to_step) {
  const auto at = [&](int64_t index) {
    Bits bits;  // checkpoints do not promise alignment
    std::memcpy(&bits, static_cast<const std::byte*>(data) + index * static_cast<int64_t>(sizeof bits), sizeof bits);
    return kWiden(bits);
  };
  if (step == 1 && to_step == 1)  // a loop of vectors
    for (int64_t i = 0; i < count; ++i) to[i] = at(first + i);
  else
    for (int64_t i = 0; i < count; ++i) to[i * to_step] = at(first + i * step);
}

void read_nibbles(const void* data, int64_t first, int64_t step, int64_t count, float* to, int64_t to_step) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = first + i * step;
    to[i * to_step] = from_float4_e2m1(static_cast<uint8_t>(static_cast<const uint8_t*>(data)[at / 2] >> at % 2 * 4));
  }
}

}  // namespace

void read_floats(const void* data, DType dtype, int64_t first, int64_t step, int64_t count, float* to,
                 int64_t to_step) {
  const auto by = [&](auto read) { read(data, first, step, count, to, to_step); };
  switch (dtype) {
    case DType::kFloat32:
      return by(read_each<float, same>);
    case DType::kBFloat16:
      return by(read_each<uint16_t, from_bfloat16>);
    case DType::kFloat16:
      return by(read_each<uint16_t, from_float16>);
    case DType::kFloat8E4M3:
      return by(read_each<uint8_t, float8_from_table>);
    case DType::kFloat4E2M1:
      return by(read_nibbles);
    case DType::kFloat8E8M0:
      return by(read_each<uint8_t, from_float8_e8m0>);
    case DType::kInt8:
    case DType::kUInt8:
    case DType::kUInt4:
    case DType::kUInt2:
    case DType::kUInt3:
    case DType::kUInt5:
    case DType::kUInt6:
    case DType::kBlocks:
      throw Error(ErrorCode::kInternal, "Expected floats: what integers stand for is in core/weights/integers.h");
  }
}

}  // namespace moe
