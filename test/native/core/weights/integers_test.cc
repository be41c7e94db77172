#include "core/weights/integers.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/error.h"
#include "core/weights/check_weights.h"
#include "core/weights/float16.h"
#include "core/weights/grouped.h"
#include "core/weights/read_weights.h"

namespace moe {
namespace {

constexpr int64_t kOuts = 19, kIns = 75, kGroup = 32, kGroups = 3;
// What AWQ's tools have in a word, from its lowest bits on.
constexpr std::array<int64_t, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};

std::mt19937 random_bits(7);

// [rows, cols] codes, and the words that hold them.
struct Codes {
  std::vector<uint8_t> codes;
  std::vector<uint32_t> words;
  int64_t cols, out_stride, in_stride;

  uint8_t at(int64_t row, int64_t col) const { return codes[row * cols + col]; }
};

Codes packed_codes(int64_t rows, int64_t cols, int64_t bits, Packing packing, bool transposed = false) {
  const int64_t n = 32 / bits;
  const bool of_inputs = packing == Packing::kInputs;
  const int64_t down = of_inputs ? rows : (rows + n - 1) / n, across = of_inputs ? (cols + n - 1) / n : cols;
  Codes made{std::vector<uint8_t>(rows * cols), std::vector<uint32_t>(down * across), cols, 0, 0};
  made.out_stride = transposed ? 1 : across;
  made.in_stride = transposed ? down : 1;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t col = 0; col < cols; ++col) {
      const uint8_t code = made.codes[row * cols + col] = random_bits() & ((1 << bits) - 1);
      const int64_t packed = of_inputs ? col : row;
      int64_t place = packed % n;
      if (packing == Packing::kOutputsOfAwq)
        place = std::find(kAwqOrder.begin(), kAwqOrder.end(), place) - kAwqOrder.begin();
      const int64_t word = (of_inputs ? row : row / n) * made.out_stride + (of_inputs ? col / n : col) * made.in_stride;
      made.words[word] |= static_cast<uint32_t>(code) << (place * bits);
    }
  return made;
}

std::vector<uint16_t> random_scales(int64_t count) {
  std::vector<uint16_t> scales(count);
  for (uint16_t& scale : scales) scale = to_float16(static_cast<float>(1 + random_bits() % 1000) / 4096.0f);
  return scales;
}

// What grouped_form and read_grouped say.
std::vector<float> ungrouped(const WeightMatrix& matrix) {
  const auto form = *grouped_form(matrix);
  const int64_t group = form.group == 0 ? matrix.in_features : form.group;
  std::vector<uint8_t> codes(matrix.in_features);
  std::vector<GroupFactors> factors((matrix.in_features + group - 1) / group);
  std::vector<float> values;
  for (int64_t o = 0; o < matrix.out_features; ++o) {
    read_grouped(matrix, o, codes.data(), factors.data());
    for (int64_t i = 0; i < matrix.in_features; ++i) {
      const GroupFactors& of = factors[form.ordered ? group_of(matrix.scales, i) : i / group];
      float value = form.codes == CodeKind::kInteger
                        ? static_cast<float>(codes[i] - (form.zeros ? of.zero : form.zero))
                        : (form.codes == CodeKind::kFloat4E2M1 ? from_float4_e2m1 : from_float8_e4m3)(codes[i]);
      switch (form.scale) {
        case ScaleKind::kFloat32:
          value *= std::bit_cast<float>(of.scale);
          break;
        case ScaleKind::kFloat16:
          value *= from_float16(static_cast<uint16_t>(of.scale));
          break;
        case ScaleKind::kFloat32TimesE4M3:
          value *= from_float8_e4m3(static_cast<uint8_t>(of.level));
          value = form.divides ? value / std::bit_cast<float>(of.scale) : value * std::bit_cast<float>(of.scale);
          break;
        default:
          ADD_FAILURE() << "a scale of another kind";
      }
      if (form.offsets) value += from_float16(static_cast<uint16_t>(of.offset));
      values.push_back(value);
    }
  }
  return values;
}

std::vector<float> values_of(const WeightMatrix& matrix) {
  std::vector<float> values(matrix.out_features * matrix.in_features);
  read_block(matrix, 0, matrix.out_features, 0, matrix.in_features, values.data());
  return values;
}

// Whole, in a part that begins anywhere, and by groups.
void expect_values(const WeightMatrix& matrix, const std::vector<float>& expected) {
  EXPECT_EQ(values_of(matrix), expected);
  WeightMatrix part = matrix;
  part.first_out = 5;
  part.out_features = matrix.out_features - 5;
  const std::vector<float> behind(expected.begin() + 5 * matrix.in_features, expected.end());
  EXPECT_EQ(values_of(part), behind);
  std::vector<float> block(3 * 41);
  read_block(part, 2, 3, 17, 41, block.data());
  for (int64_t o = 0; o < 3; ++o)
    for (int64_t i = 0; i < 41; ++i)
      EXPECT_EQ(block[o * 41 + i], expected[(7 + o) * matrix.in_features + 17 + i]) << o << ", " << i;
  ASSERT_TRUE(grouped_form(matrix));
  EXPECT_EQ(ungrouped(matrix), expected);
  EXPECT_EQ(ungrouped(part), behind);
}

struct Case {
  const char* name;
  DType dtype;
  Packing packing;
  bool transposed;
  Packing zeros;
  int32_t added;
};

class PackedIntegers : public testing::TestWithParam<Case> {};

TEST_P(PackedIntegers, AreCodesLessZerosTimesScales) {
  const Case& form = GetParam();
  const int64_t bits = bits_of(form.dtype);
  const Codes codes = packed_codes(kOuts, kIns, bits, form.packing, form.transposed);
  const Codes zeros = packed_codes(kOuts, kGroups, bits, form.zeros, form.transposed);
  const std::vector<uint16_t> scales = random_scales(kOuts * kGroups);
  WeightMatrix matrix{codes.words.data(), form.dtype, kOuts, kIns, codes.out_stride, codes.in_stride};
  matrix.packing = form.packing;
  matrix.scales = {scales.data(), DType::kFloat16, 1, kGroup, kGroups, 1};
  matrix.zeros = {zeros.words.data(), form.zeros, zeros.out_stride, zeros.in_stride, form.added};
  const auto expected = [&](const auto& zero) {
    std::vector<float> values;
    for (int64_t o = 0; o < kOuts; ++o)
      for (int64_t i = 0; i < kIns; ++i)
        values.push_back(static_cast<float>(codes.at(o, i) - zero(o, i / kGroup)) *
                         from_float16(scales[o * kGroups + i / kGroup]));
    return values;
  };
  expect_values(matrix, expected([&](int64_t o, int64_t g) { return (zeros.at(o, g) + form.added) % (1 << bits); }));
  EXPECT_FALSE(are_zeros(matrix, 1 << (bits - 1)));

  matrix.zeros = {.all = 1 << (bits - 1)};
  expect_values(matrix, expected([&](int64_t, int64_t) { return 1 << (bits - 1); }));
  EXPECT_TRUE(are_zeros(matrix, 1 << (bits - 1)));
}

INSTANTIATE_TEST_SUITE_P(
    Formats, PackedIntegers,
    testing::Values(Case{"compressed_tensors4", DType::kUInt4, Packing::kInputs, false, Packing::kOutputs, 0},
                    Case{"compressed_tensors8", DType::kUInt8, Packing::kInputs, false, Packing::kOutputs, 0},
                    Case{"gptq4", DType::kUInt4, Packing::kInputs, true, Packing::kOutputs, 1},
                    Case{"gptq8", DType::kUInt8, Packing::kInputs, true, Packing::kOutputs, 1},
                    Case{"gptq4_v2", DType::kUInt4, Packing::kInputs, true, Packing::kOutputs, 0},
                    Case{"awq", DType::kUInt4, Packing::kOutputsOfAwq, false, Packing::kOutputsOfAwq, 0}),
    [](const auto& info) { return info.param.name; });

TEST(Integers, WithSignsHaveSignedZeros) {
  std::vector<int8_t> codes(kOuts * kIns), zeros(kOuts);
  for (int8_t& code : codes) code = static_cast<int8_t>(random_bits());
  for (int8_t& zero : zeros) zero = static_cast<int8_t>(random_bits());
  std::vector<float> scales(kOuts), plain, shifted;
  for (float& scale : scales) scale = static_cast<float>(1 + random_bits() % 1000) / 3000;
  for (int64_t o = 0; o < kOuts; ++o)
    for (int64_t i = 0; i < kIns; ++i) {
      const int code = codes[o * kIns + i];
      plain.push_back(static_cast<float>(code) * scales[o]);
      shifted.push_back(static_cast<float>(code - zeros[o]) * scales[o]);
    }
  WeightMatrix matrix{codes.data(), DType::kInt8, kOuts, kIns, kIns, 1};
  matrix.scales = {scales.data(), DType::kFloat32, 1, kIns, 1, 1};
  expect_values(matrix, plain);
  matrix.zeros = {.data = zeros.data(), .out_stride = 1, .in_stride = 1};
  expect_values(matrix, shifted);
}

TEST(Integers, MayBeBitsThatWordsCut) {
  for (const auto& [dtype, held] :
       {std::pair{DType::kUInt2, 4}, {DType::kUInt3, 4}, {DType::kUInt5, 5}, {DType::kUInt6, 6}}) {
    const int64_t bits = bits_of(dtype), words = (kIns * bits + 31) / 32;
    // Nothing behind the last word, which a sanitizer would see read.
    std::vector<uint32_t> codes(kOuts * words);
    const std::vector<uint16_t> scales = random_scales(kOuts * kGroups);
    std::vector<float> expected;
    for (int64_t o = 0; o < kOuts; ++o)
      for (int64_t i = 0; i < kIns; ++i) {
        const uint32_t code = random_bits() & ((1U << bits) - 1);
        for (int64_t b = 0; b < bits; ++b)
          codes[o * words + (i * bits + b) / 32] |= (code >> b & 1) << (i * bits + b) % 32;
        expected.push_back(static_cast<float>(code) * from_float16(scales[o * kGroups + i / kGroup]));
      }
    WeightMatrix matrix{codes.data(), dtype, kOuts, kIns, words, 1};
    matrix.packing = Packing::kInputs;
    matrix.scales = {scales.data(), DType::kFloat16, 1, kGroup, kGroups, 1};
    expect_values(matrix, expected);
    EXPECT_EQ(grouped_form(matrix)->bits, held);
  }
}

TEST(Integers, MayHaveOffsetsAndAnOrderOfInputs) {
  const Codes codes = packed_codes(kOuts, kIns, 4, Packing::kInputs);
  const std::vector<uint16_t> scales = random_scales(kOuts * kGroups), offsets = random_scales(kOuts * kGroups);
  std::vector<int32_t> order(kIns);
  for (int64_t i = 0; i < kIns; ++i) order[i] = static_cast<int32_t>(i / kGroup);
  WeightMatrix matrix{codes.words.data(), DType::kUInt4, kOuts, kIns, codes.out_stride, codes.in_stride};
  matrix.packing = Packing::kInputs;
  matrix.scales = {scales.data(), DType::kFloat16, 1, kGroup, kGroups, 1};
  matrix.scales.group_of_input = order.data();
  matrix.scales.offsets = offsets.data();
  const auto expected = [&] {
    std::vector<float> values;
    for (int64_t o = 0; o < kOuts; ++o)
      for (int64_t i = 0; i < kIns; ++i) {
        const int64_t at = o * kGroups + order[i];
        values.push_back(static_cast<float>(codes.at(o, i)) * from_float16(scales[at]) + from_float16(offsets[at]));
      }
    return values;
  };
  expect_values(matrix, expected());
  EXPECT_FALSE(grouped_form(matrix)->ordered);
  std::swap(order[3], order[70]);
  expect_values(matrix, expected());
  EXPECT_TRUE(grouped_form(matrix)->ordered);
}

TEST(SmallFloats, AreScaledInTwoSteps) {
  std::vector<uint8_t> codes(kOuts * 38), scales(kOuts * 5);
  for (uint8_t& byte : codes) byte = static_cast<uint8_t>(random_bits());
  for (uint8_t& scale : scales) scale = static_cast<uint8_t>(1 + random_bits() % 0x7d);
  WeightMatrix matrix{codes.data(), DType::kFloat4E2M1, kOuts, kIns, 76, 1};
  matrix.scales = {scales.data(), DType::kFloat8E4M3, 1, 16, 5, 1};
  const auto expected = [&](const auto& step) {
    std::vector<float> values;
    for (int64_t o = 0; o < kOuts; ++o)
      for (int64_t i = 0; i < kIns; ++i)
        values.push_back(
            step(from_float4_e2m1(codes[o * 38 + i / 2] >> i % 2 * 4) * from_float8_e4m3(scales[o * 5 + i / 16])));
    return values;
  };
  expect_values(matrix, expected([](float value) { return value; }));
  matrix.scales.factor = 0.0371f;
  expect_values(matrix, expected([](float value) { return value * 0.0371f; }));
  matrix.scales.factor = 1;
  matrix.scales.divisor = 512;
  expect_values(matrix, expected([](float value) { return value / 512; }));
  matrix.scales.divisor = 1234.5f;
  expect_values(matrix, expected([](float value) { return value / 1234.5f; }));
  EXPECT_TRUE(grouped_form(matrix)->divides);
}

TEST(CheckWeights, NamesTheScaleThatIsZeroOrNoNumber) {
  const Codes codes = packed_codes(kOuts, kIns, 4, Packing::kInputs);
  for (const float wrong : {0.0f, -0.0f, std::numeric_limits<float>::quiet_NaN(), INFINITY}) {
    std::vector<float> scales(kOuts * kGroups, -1.5f);  // the sign is free
    scales[7 * kGroups + 1] = wrong;
    WeightMatrix matrix{codes.words.data(), DType::kUInt4, kOuts, kIns, codes.out_stride, codes.in_stride};
    matrix.packing = Packing::kInputs;
    matrix.scales = {scales.data(), DType::kFloat32, 1, kGroup, kGroups, 1};
    matrix.scales.name = std::make_shared<const std::string>("tensor \"a.scales\" in b");
    try {
      expect_matrix("up", matrix, kOuts, kIns);
      ADD_FAILURE() << wrong;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCheckpoint);
      const std::string message = error.what();
      EXPECT_NE(message.find("tensor \"a.scales\" in b"), std::string::npos) << message;
      EXPECT_NE(message.find("at element 22"), std::string::npos) << message;
    }
    // A part that does not have it is well.
    matrix.first_out = 8;
    matrix.out_features = 11;
    EXPECT_NO_THROW(expect_matrix("up", matrix, 11, kIns));
    // Where there are offsets, a scale may be 0.
    const std::vector<float> offsets(scales.size());
    matrix.scales.offsets = offsets.data();
    matrix.first_out = 0;
    matrix.out_features = kOuts;
    if (std::isfinite(wrong)) {
      EXPECT_NO_THROW(expect_matrix("up", matrix, kOuts, kIns));
    } else {
      EXPECT_THROW(expect_matrix("up", matrix, kOuts, kIns), Error);
    }
  }
}

}  // namespace
}  // namespace moe
