// GGUF's types of blocks against plain decoders, which go from an element to its bits.
#include "core/weights/blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "core/error.h"
#include "core/weights/float16.h"
#include "core/weights/read_weights.h"

namespace moe {
namespace {

// Bit `bit` of some bytes, the lowest of a byte first.
int bits(const uint8_t* bytes, int first, int count) {
  int value = 0;
  for (int b = 0; b < count; ++b) value |= (bytes[(first + b) / 8] >> (first + b) % 8 & 1) << b;
  return value;
}

float half(const uint8_t* at) {
  uint16_t value;
  std::memcpy(&value, at, 2);
  return from_float16(value);
}

// A nibble of `bytes`, which hold element j and element j + half.
int nibble(const uint8_t* bytes, int element, int half) {
  return bits(bytes, element % half * 8 + element / half * 4, 4);
}

// What element i of a block is, as ggml computes it.
using Decoder = float (*)(const uint8_t* block, int i);

float six_bit_level(const uint8_t* sc, int g, bool offset) {
  if (g < 4) return static_cast<float>(bits(sc, 8 * (g + (offset ? 4 : 0)), 6));
  const int low = bits(sc, 8 * (g + 4) + (offset ? 4 : 0), 4), high = bits(sc, 8 * (g - (offset ? 0 : 4)) + 6, 2);
  return static_cast<float>(low + 16 * high);
}

float k_value(const uint8_t* block, int i, int q) {
  const float scale = half(block) * six_bit_level(block + 4, i / 32, false);
  const float offset = half(block + 2) * six_bit_level(block + 4, i / 32, true);
  return scale * static_cast<float>(q) - offset;
}

struct Plain {
  const char* name;
  Decoder decode;
};

const Plain kPlain[] = {
    {"q4_0", [](const uint8_t* b, int i) { return half(b) * static_cast<float>(nibble(b + 2, i, 16) - 8); }},
    {"q4_1", [](const uint8_t* b, int i) { return half(b) * static_cast<float>(nibble(b + 4, i, 16)) + half(b + 2); }},
    {"q5_0", [](const uint8_t* b,
                int i) { return half(b) * static_cast<float>(nibble(b + 6, i, 16) + 16 * bits(b + 2, i, 1) - 16); }},
    {"q5_1",
     [](const uint8_t* b, int i) {
       return half(b) * static_cast<float>(nibble(b + 8, i, 16) + 16 * bits(b + 4, i, 1)) + half(b + 2);
     }},
    {"q8_0", [](const uint8_t* b, int i) { return half(b) * static_cast<float>(static_cast<int8_t>(b[2 + i])); }},
    {"q2_K",
     [](const uint8_t* b, int i) {
       const int q = bits(b + 16 + i / 128 * 32, i % 32 * 8 + i % 128 / 32 * 2, 2);
       const float scale = half(b + 80) * static_cast<float>(b[i / 16] & 15);
       return scale * static_cast<float>(q) - half(b + 82) * static_cast<float>(b[i / 16] >> 4);
     }},
    {"q3_K",
     [](const uint8_t* b, int i) {
       const int low = bits(b + 32 + i / 128 * 32, i % 32 * 8 + i % 128 / 32 * 2, 2);
       const int q = low - (bits(b, i % 32 * 8 + i / 32, 1) ? 0 : 4);
       const int g = i / 16, four = bits(b + 96, g % 8 * 8 + g / 8 * 4, 4);
       const int two = bits(b + 104, g % 4 * 8 + g / 4 * 2, 2);
       return half(b + 108) * static_cast<float>(four + 16 * two - 32) * static_cast<float>(q);
     }},
    {"q4_K", [](const uint8_t* b, int i) { return k_value(b, i, nibble(b + 16 + i / 64 * 32, i % 64, 32)); }},
    {"q5_K",
     [](const uint8_t* b, int i) {
       return k_value(b, i, nibble(b + 48 + i / 64 * 32, i % 64, 32) + 16 * bits(b + 16, i % 32 * 8 + i / 32, 1));
     }},
    {"q6_K",
     [](const uint8_t* b, int i) {
       const int within = i % 128, low = bits(b + i / 128 * 64, within % 64 * 8 + within / 64 * 4, 4);
       const int high = bits(b + 128 + i / 128 * 32, within % 32 * 8 + within / 32 * 2, 2);
       const float scale = half(b + 208) * static_cast<float>(static_cast<int8_t>(b[192 + i / 16]));
       return scale * static_cast<float>(low + 16 * high - 32);
     }},
    {"iq4_nl",
     [](const uint8_t* b, int i) {
       constexpr float kValues[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
       return half(b) * kValues[nibble(b + 2, i, 16)];
     }},
    {"iq4_xs",
     [](const uint8_t* b, int i) {
       constexpr float kValues[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
       const int g = i / 32, level = bits(b + 4, 4 * g, 4) + 16 * bits(b + 2, 2 * g, 2) - 32;
       return half(b) * static_cast<float>(level) * kValues[nibble(b + 8 + 16 * g, i % 32, 16)];
     }},
    {"mxfp4",
     [](const uint8_t* b, int i) {
       constexpr float kValues[] = {0, .5, 1, 1.5, 2, 3, 4, 6, -0.f, -.5, -1, -1.5, -2, -3, -4, -6};
       return b[0] == 255 ? NAN : std::ldexp(1.0f, b[0] - 127) * kValues[nibble(b + 1, i, 16)];
     }},
    {"nvfp4",
     [](const uint8_t* b, int i) {
       constexpr float kValues[] = {0, .5, 1, 1.5, 2, 3, 4, 6, -0.f, -.5, -1, -1.5, -2, -3, -4, -6};
       const int exponent = bits(b + i / 16, 3, 4), mantissa = bits(b + i / 16, 0, 3);
       const float scale = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                         : std::ldexp(1 + static_cast<float>(mantissa) / 8, exponent - 7);
       return (exponent == 15 && mantissa == 7 ? NAN : scale) * kValues[nibble(b + 4 + i / 16 * 8, i % 16, 8)];
     }},
};

struct Blocks {
  Blocks(const BlockType& type, int64_t outs, int64_t blocks, int64_t step, uint32_t seed)
      : bytes(outs * step * type.bytes) {
    std::mt19937 random(seed);
    std::vector<uint8_t> codes(type.elements);
    std::vector<GroupFactors> factors(type.groups());
    for (size_t at = 0; at < bytes.size(); at += type.bytes) do {
        for (int32_t i = 0; i < type.bytes; ++i) bytes[at + i] = static_cast<uint8_t>(random());
        type.split(&bytes[at], codes.data(), factors.data());
      } while (!std::ranges::all_of(factors, [&](const GroupFactors& each) { return is_finite(type.form, each); }));
    matrix = {.data = bytes.data(),
              .dtype = DType::kBlocks,
              .out_features = outs,
              .in_features = blocks * type.elements,
              .out_stride = step * type.elements,
              .in_stride = 1,
              .blocks = &type};
  }
  std::vector<uint8_t> bytes;
  WeightMatrix matrix;
};

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

class BlockTypes : public testing::TestWithParam<Plain> {
 protected:
  const BlockType& type() const {
    for (const BlockType& each : block_types())
      if (std::string(each.name) == GetParam().name) return each;
    throw std::runtime_error("Expected a type of this name");
  }
};
INSTANTIATE_TEST_SUITE_P(All, BlockTypes, testing::ValuesIn(kPlain),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(BlockTypes, EachHasAPlainDecoder) {
  ASSERT_EQ(block_types().size(), std::size(kPlain));
  for (size_t i = 0; i < std::size(kPlain); ++i) EXPECT_STREQ(block_types()[i].name, kPlain[i].name);
}

// Random bytes: every code, subnormal scales.
TEST_P(BlockTypes, AreReadAsThePlainDecoderReadsThem) {
  const Blocks random(type(), 40, 3, 5, 1);
  const int64_t ins = random.matrix.in_features;
  std::vector<float> values(40 * ins);
  read_block(random.matrix, 0, 40, 0, ins, values.data());
  for (int64_t o = 0; o < 40; ++o)
    for (int64_t i = 0; i < ins; ++i) {
      const uint8_t* const block = random.bytes.data() + (o * 5 + i / type().elements) * type().bytes;
      const float expected = GetParam().decode(block, static_cast<int>(i % type().elements));
      ASSERT_TRUE(same(values[o * ins + i], expected))
          << o << ", " << i << ": " << values[o * ins + i] << ", " << expected;
    }
}

TEST_P(BlockTypes, AreReadInAnyPart) {
  Blocks random(type(), 7, 3, 3, 2);
  const int64_t ins = random.matrix.in_features;
  std::vector<float> whole(7 * ins);
  read_block(random.matrix, 0, 7, 0, ins, whole.data());
  for (const auto& [out, outs, in, count] : {std::array<int64_t, 4>{0, 1, 0, 1},
                                             {2, 3, 5, 2 * type().elements},
                                             {6, 1, ins - 3, 3},
                                             {1, 5, type().elements, 7}}) {
    std::vector<float> part(outs * count);
    read_block(random.matrix, out, outs, in, count, part.data());
    for (int64_t o = 0; o < outs; ++o)
      for (int64_t i = 0; i < count; ++i)
        ASSERT_TRUE(same(part[o * count + i], whole[(out + o) * ins + in + i])) << out + o << ", " << in + i;
  }
  random.matrix.first_out = 2;
  random.matrix.out_features = 5;
  std::vector<float> rest(5 * ins);
  read_block(random.matrix, 0, 5, 0, ins, rest.data());
  for (size_t i = 0; i < rest.size(); ++i) ASSERT_TRUE(same(rest[i], whole[2 * ins + i]));
}

TEST_P(BlockTypes, GiveCodesAndFactorsOfTheSameValues) {
  Blocks random(type(), 9, 2, 2, 3);
  if (type().has_factor()) random.matrix.scales.factor = 0.3f;
  const int64_t ins = random.matrix.in_features;
  const GroupedForm form = grouped_form(random.matrix).value();
  std::vector<uint8_t> codes(ins);
  std::vector<GroupFactors> factors(ins / form.group);
  std::vector<float> values(ins);
  for (int64_t o = 0; o < 9; ++o) {
    read_grouped(random.matrix, o, codes.data(), factors.data());
    read_block(random.matrix, o, 1, 0, ins, values.data());
    for (int64_t i = 0; i < ins; ++i) {
      ASSERT_LT(codes[i], 1 << form.bits);
      float value;
      grouped_values(form, factors[i / form.group], &codes[i], 1, &value);
      ASSERT_TRUE(same(value, values[i])) << o << ", " << i;
    }
  }
}

// All bits of a block are set, so its scales are NaN. Zeros are a block of zeros.
TEST_P(BlockTypes, AreRefusedWithScalesThatAreNoNumbers) {
  Blocks random(type(), 4, 2, 2, 4);
  random.matrix.scales.name = std::make_shared<const std::string>("tensor \"a\" in b");
  const auto read = [&] {
    std::vector<float> values(4 * random.matrix.in_features);
    read_block(random.matrix, 0, 4, 0, random.matrix.in_features, values.data());
    return values;
  };
  const auto fill_block = [&](uint8_t byte) {
    std::fill_n(random.bytes.begin() + 3 * type().bytes, type().bytes, byte);
  };
  fill_block(0);
  EXPECT_EQ(read()[3 * type().elements], 0);
  fill_block(0xff);
  try {
    read();
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCheckpoint);
    EXPECT_NE(std::string(error.what()).find("tensor \"a\" in b"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("block 3"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace moe
