#include "core/weights/read_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/weights/float16.h"

namespace moe {
namespace {

TEST(ReadWeights, ReadsEveryFloatTypeThroughAnyStrides) {
  std::vector<uint16_t> halves;
  std::vector<float> floats;
  for (int i = 0; i < 200; ++i) {
    floats.push_back(static_cast<float>(i) - 50);
    halves.push_back(to_bfloat16(static_cast<float>(i) - 50));
  }
  for (const auto& [out_stride, in_stride] : {std::pair<int64_t, int64_t>{10, 1}, {1, 12}, {2, 30}}) {
    const auto expected = [&, o = out_stride, i = in_stride](int64_t out, int64_t in) { return out * o + in * i - 50; };
    float block[6];
    for (const WeightMatrix& matrix : {WeightMatrix{floats.data(), DType::kFloat32, 5, 6, out_stride, in_stride},
                                       WeightMatrix{halves.data(), DType::kBFloat16, 5, 6, out_stride, in_stride}}) {
      read_block(matrix, 2, 2, 1, 3, block);
      for (int64_t o = 0; o < 2; ++o)
        for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(block[o * 3 + i], static_cast<float>(expected(2 + o, 1 + i)));
    }
  }
}

// Values of the OCP 8-bit floating point specification, 1.0.
TEST(ReadWeights, KnowsFloat8E4M3) {
  EXPECT_EQ(from_float8_e4m3(0x00), 0.0f);
  EXPECT_EQ(from_float8_e4m3(0x01), 0x1p-9f);
  EXPECT_EQ(from_float8_e4m3(0x07), 7 * 0x1p-9f);
  EXPECT_EQ(from_float8_e4m3(0x08), 0x1p-6f);
  EXPECT_EQ(from_float8_e4m3(0x38), 1.0f);
  EXPECT_EQ(from_float8_e4m3(0xb9), -1.125f);
  EXPECT_EQ(from_float8_e4m3(0x7e), 448.0f);
  EXPECT_TRUE(std::isnan(from_float8_e4m3(0x7f)));
  EXPECT_TRUE(std::isnan(from_float8_e4m3(0xff)));
  EXPECT_TRUE(std::signbit(from_float8_e4m3(0x80)));
}

// Values of the OCP microscaling specification, 1.0.
TEST(ReadWeights, KnowsFloat4E2M1AndItsScales) {
  const float magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (uint8_t bits = 0; bits < 16; ++bits)
    EXPECT_EQ(from_float4_e2m1(bits), (bits & 8 ? -1.0f : 1.0f) * magnitudes[bits & 7]);
  EXPECT_EQ(from_float8_e8m0(127), 1.0f);
  EXPECT_EQ(from_float8_e8m0(0), 0x1p-127f);
  EXPECT_EQ(from_float8_e8m0(254), 0x1p127f);
  EXPECT_TRUE(std::isnan(from_float8_e8m0(255)));
}

TEST(ReadWeights, TakesTheFirstOfTwoFourBitElementsFromTheLowHalf) {
  const uint8_t bytes[] = {0x21, 0x43, 0x65};
  float row[6];
  read_block({bytes, DType::kFloat4E2M1, 1, 6, 6, 1}, 0, 1, 0, 6, row);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(row[i], from_float4_e2m1(static_cast<uint8_t>(i + 1)));
}

TEST(ReadWeights, AppliesTheScaleOfEachBlockWhereverTheReadBegins) {
  const std::vector<uint8_t> ones(7 * 9, 0x38);
  const float scales[] = {1, 2, 3, 10, 20, 30};  // blocks of 4 x 4: two rows of three
  WeightMatrix matrix{ones.data(), DType::kFloat8E4M3, 7, 9, 9, 1};
  matrix.scales = {scales, DType::kFloat32, 4, 4, 3, 1};
  for (int64_t out = 0; out < 7; ++out)
    for (int64_t in = 0; in < 9; ++in) {
      std::vector<float> block((7 - out) * (9 - in));
      read_block(matrix, out, 7 - out, in, 9 - in, block.data());
      for (int64_t o = out; o < 7; ++o)
        for (int64_t i = in; i < 9; ++i)
          EXPECT_EQ(block[(o - out) * (9 - in) + i - in], scales[o / 4 * 3 + i / 4]) << o << ", " << i;
    }
}

TEST(ReadWeights, ReadsVectorsThroughTheirStride) {
  const float values[] = {1, 2, 3, 4, 5};
  EXPECT_EQ(read_vector({values, DType::kFloat32, 3, 2}), (std::vector<float>{1, 3, 5}));
  EXPECT_TRUE(read_vector({}).empty());
}

}  // namespace
}  // namespace moe
