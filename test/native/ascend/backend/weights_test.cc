// How weights stand in the device's memory.
#include "ascend/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "core/host/host_executor.h"
#include "core/weights/float16.h"

namespace moe::ascend {
namespace {

using cann::DataType;

constexpr int64_t kIn = 37, kOut = 19;

// Row-major [out, in]; each value tells where it is, and is exact in float16.
std::vector<float> numbered(int64_t out, int64_t in, float first) {
  std::vector<float> values(out * in);
  for (int64_t o = 0; o < out; ++o)
    for (int64_t i = 0; i < in; ++i) values[o * in + i] = first + static_cast<float>(o) + static_cast<float>(i) / 32;
  return values;
}

WeightMatrix view(const std::vector<float>& values, int64_t out, int64_t in) {
  return {values.data(), DType::kFloat32, out, in, in, 1};
}

class ProjectionsTest : public testing::Test {
 protected:
  // The packed bytes of one expert of gate and up.
  std::vector<std::byte> pack(const ExpertTypes& types, std::vector<std::byte>& vectors) {
    Projections projections(device_, types, 1, kIn, kOut, true, true);
    columns_ = projections.columns();
    in_ = projections.in();
    std::vector<std::byte> matrix(projections.matrix_bytes());
    vectors.resize(projections.vector_bytes());
    const WeightMatrix gate = view(gate_, kOut, kIn), up = view(up_, kOut, kIn);
    const WeightVector gate_bias{bias_.data(), DType::kFloat32, kOut, 1}, up_bias{};
    HostExecutor executor(2);
    projections.pack({&gate, &up, &gate_bias, &up_bias}, executor, matrix.data(), vectors.data());
    return matrix;
  }

  Npu device_{cann_library(), 0};
  const std::vector<float> gate_ = numbered(kOut, kIn, 1), up_ = numbered(kOut, kIn, 21), bias_ = numbered(1, kOut, 7);
  int64_t columns_ = 0, in_ = 0;
};

template <class T>
T at(const std::vector<std::byte>& bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

TEST_F(ProjectionsTest, RowMajorWithGateInFrontOfUp) {
  std::vector<std::byte> vectors;
  const auto matrix = pack(
      {WeightType::kFloat32, DataType::kFloat32, DataType::kFloat32, DataType::kFloat32, false, false, 1}, vectors);
  ASSERT_EQ(columns_, 2 * kOut);
  for (int64_t i = 0; i < kIn; ++i)
    for (int64_t o = 0; o < kOut; ++o) {
      EXPECT_EQ(at<float>(matrix, i * columns_ + o), gate_[o * kIn + i]);
      EXPECT_EQ(at<float>(matrix, i * columns_ + kOut + o), up_[o * kIn + i]);
    }
  for (int64_t o = 0; o < kOut; ++o) {
    EXPECT_EQ(at<float>(vectors, o), bias_[o]);
    EXPECT_EQ(at<float>(vectors, kOut + o), 0);
  }
}

// Blocks of 16 x 16 in columns of blocks, sizes padded by zeros.
TEST_F(ProjectionsTest, FractalBlocksForA310P) {
  std::vector<std::byte> vectors;
  const auto matrix = pack(
      {WeightType::kFloat16, DataType::kFloat16, DataType::kFloat16, DataType::kFloat16, false, true, 32}, vectors);
  ASSERT_EQ(in_, 64);
  ASSERT_EQ(columns_, 64);
  for (int64_t column_block = 0; column_block < 4; ++column_block)
    for (int64_t row_block = 0; row_block < 4; ++row_block)
      for (int64_t row = 0; row < 16; ++row)
        for (int64_t column = 0; column < 16; ++column) {
          const int64_t index = ((column_block * 4 + row_block) * 16 + row) * 16 + column;
          const int64_t i = row_block * 16 + row, n = column_block * 16 + column;
          const std::vector<float>& from = n < 32 ? gate_ : up_;
          const bool inside = i < kIn && n % 32 < kOut;
          EXPECT_EQ(from_float16(at<uint16_t>(matrix, index)), inside ? from[n % 32 * kIn + i] : 0.0f);
        }
}

TEST_F(ProjectionsTest, Int8HasAScalePerOutput) {
  std::vector<std::byte> vectors;
  const auto matrix =
      pack({WeightType::kInt8, DataType::kInt8, DataType::kBFloat16, DataType::kFloat32, false, false, 1}, vectors);
  for (int64_t o = 0; o < kOut; ++o) {
    const float scale = from_bfloat16(at<uint16_t>(vectors, (columns_ * 4 + (kOut + o) * 2) / 2));
    for (int64_t i = 0; i < kIn; ++i)
      EXPECT_NEAR(at<int8_t>(matrix, i * columns_ + kOut + o) * scale, up_[o * kIn + i], scale / 2 + 1e-6);
  }
}

}  // namespace
}  // namespace moe::ascend
