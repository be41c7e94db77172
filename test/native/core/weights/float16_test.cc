#include "core/weights/float16.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace moe {
namespace {

// The value of a format with `exponent_bits` and `fraction_bits`, by its definition.
double value_of(uint32_t bits, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const double fraction = std::ldexp(bits & ((1u << fraction_bits) - 1), -fraction_bits);
  const double sign = bits & 0x8000 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1)
    return fraction == 0.0 ? sign * std::numeric_limits<double>::infinity() : NAN;
  return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1.0 + fraction, exponent - bias));
}

struct Format {
  int exponent_bits, fraction_bits;
  float (*widen_one)(uint16_t);
  uint16_t (*narrow_one)(float);
};

class Float16 : public testing::TestWithParam<Format> {};

TEST_P(Float16, WidensEveryBitPatternToItsValueAndBack) {
  const auto [exponent_bits, fraction_bits, widen_one, narrow_one] = GetParam();
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const double expected = value_of(bits, exponent_bits, fraction_bits);
    const float widened = widen_one(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(widened)) << bits;
      ASSERT_TRUE(std::isnan(widen_one(narrow_one(widened)))) << bits;
      ASSERT_EQ(narrow_one(widened) >> 15, bits >> 15) << "the sign of a NaN, " << bits;
    } else {
      ASSERT_EQ(widened, expected) << bits;
      ASSERT_EQ(std::signbit(widened), (bits & 0x8000) != 0) << bits;
      ASSERT_EQ(narrow_one(widened), bits);
    }
  }
}

TEST_P(Float16, RoundsBetweenNeighboursToTheNearestAndTiesToEven) {
  const auto [exponent_bits, fraction_bits, widen_one, narrow_one] = GetParam();
  const uint32_t infinity = ((1u << exponent_bits) - 1) << fraction_bits;
  for (const uint32_t sign : {0u, 0x8000u})
    for (uint32_t low = 0; low < infinity; ++low) {
      const uint32_t high = low + 1;
      // Infinity stands where the next finite value would.
      const double step = value_of(high == infinity ? low : high, exponent_bits, fraction_bits) -
                          value_of(high == infinity ? low - 1 : low, exponent_bits, fraction_bits);
      const auto middle = static_cast<float>(value_of(low, exponent_bits, fraction_bits) + step / 2);
      const float signed_middle = sign ? -middle : middle;
      const float below = std::nextafter(signed_middle, 0.0f), above = std::nextafter(signed_middle, signed_middle * 2);
      if (middle == 0.0f) continue;
      ASSERT_EQ(narrow_one(signed_middle), sign | (low % 2 == 0 ? low : high)) << low;
      ASSERT_EQ(narrow_one(below), sign | low) << low;
      ASSERT_EQ(narrow_one(above), sign | high) << low;
    }
}

TEST_P(Float16, NarrowsTheEndsOfFloat32) {
  const auto [exponent_bits, fraction_bits, widen_one, narrow_one] = GetParam();
  const auto infinity = static_cast<uint16_t>(((1u << exponent_bits) - 1) << fraction_bits);
  EXPECT_EQ(narrow_one(std::numeric_limits<float>::max()), infinity);
  EXPECT_EQ(narrow_one(-std::numeric_limits<float>::max()), infinity | 0x8000);
  EXPECT_EQ(narrow_one(std::numeric_limits<float>::infinity()), infinity);
  EXPECT_EQ(narrow_one(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(narrow_one(-std::numeric_limits<float>::denorm_min()), 0x8000);
  for (const uint32_t nan : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu})
    EXPECT_TRUE(std::isnan(widen_one(narrow_one(std::bit_cast<float>(nan))))) << nan;
}

INSTANTIATE_TEST_SUITE_P(Formats, Float16,
                         testing::Values(Format{5, 10, from_float16, to_float16},
                                         Format{8, 7, from_bfloat16, to_bfloat16}),
                         [](const auto& info) { return info.param.exponent_bits == 5 ? "Float16" : "BFloat16"; });

TEST(ReadFloat, ReadsAnyTypeAtAnyAlignment) {
  const float value = 1.5f;
  const uint16_t narrow[] = {to_bfloat16(value), to_float16(value)};
  std::vector<char> bytes(16, 0x55);
  for (int offset = 0; offset < 4; ++offset) {
    std::copy_n(reinterpret_cast<const char*>(&value), 4, bytes.data() + offset + 4);
    EXPECT_EQ(read_float(bytes.data() + offset, DType::kFloat32, 1), value);
    std::copy_n(reinterpret_cast<const char*>(&narrow[0]), 2, bytes.data() + offset + 4);
    EXPECT_EQ(read_float(bytes.data() + offset, DType::kBFloat16, 2), value);
    std::copy_n(reinterpret_cast<const char*>(&narrow[1]), 2, bytes.data() + offset + 4);
    EXPECT_EQ(read_float(bytes.data() + offset, DType::kFloat16, 2), value);
  }
}

TEST(Widen, ConvertsAWholeArray) {
  const std::vector<uint16_t> narrow{to_float16(1.0f), to_float16(-2.0f), to_float16(0.5f)};
  std::vector<float> wide(4, 9.0f);
  read_floats(narrow.data(), DType::kFloat16, 0, 1, 3, wide.data());
  EXPECT_EQ(wide, (std::vector<float>{1.0f, -2.0f, 0.5f, 9.0f}));
}

}  // namespace
}  // namespace moe
