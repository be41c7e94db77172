// activationType bfloat16: rows are rounded, and sums are what processors with pairs of bfloat16 make of them, bit for
// bit, on every set with fused multiply-adds.
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "cpu/run_stages.h"

namespace moe::test {
namespace {

float of_bits(uint32_t bits) { return std::bit_cast<float>(bits); }
float without_subnormal(float value) { return std::abs(value) < FLT_MIN ? std::copysign(0.0f, value) : value; }

// One half of what vdpbf16ps does to a sum, in float64, where a product of two bfloat16 is exact and adding a float32
// to it rounds so late that rounding to float32 behind it gives what one rounding would. A result is subnormal where
// its rounding with an unbounded exponent is.
float add_product(float sum, float a, float b) {
  const double exact = static_cast<double>(without_subnormal(a)) * without_subnormal(b) + without_subnormal(sum);
  constexpr double kScale = 0x1p100;
  if (std::abs(exact) < 1 && std::abs(static_cast<float>(exact * kScale)) < FLT_MIN * kScale)
    return std::copysign(0.0f, static_cast<float>(exact * kScale));
  return static_cast<float>(exact);
}

bool same_number(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

// Numbers of every size, near one another, near the smallest ones, and the special ones.
class Numbers {
 public:
  float float32() {
    const uint32_t bits = random_();
    switch (random_() % 8) {
      case 0:
        return bits;
      case 1:
      case 2:
        return of_bits((bits & 0x807fffff) | (random_() % 20) << 23);  // subnormal ones among them
      case 3:
        return of_bits(kSpecial[random_() % std::size(kSpecial)]);
      default:
        return of_bits(((bits & 0x807fffff) | (122 + random_() % 12) << 23) & ~0u << (random_() % 23));
    }
  }
  uint16_t bfloat16() {
    const uint32_t bits = random_();
    switch (random_() % 16) {
      case 0:
        return static_cast<uint16_t>(bits);
      case 1:
        return static_cast<uint16_t>(kSpecial[random_() % std::size(kSpecial)] >> 16);
      case 2:
      case 3:
      case 4:
        return static_cast<uint16_t>((bits & 0x807f) | (random_() % 140) << 7);
      default:
        return static_cast<uint16_t>((bits & 0x807f) | (124 + random_() % 6) << 7);
    }
  }

 private:
  static constexpr uint32_t kSpecial[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f810000,
                                          0x00010000, 0x80010000, 0x007f0000, 0x00800000, 0x807fffff, 0x7f7f0000};
  std::mt19937 random_{5};
};

#if defined(__x86_64__)
constexpr int kWords = 16;
[[gnu::target("avx512f,avx512bf16")]] void add_pairs(float* sums, const uint32_t* a, const uint32_t* b) {
  asm volatile("vmovups (%0), %%zmm0\n\tvmovups (%1), %%zmm1\n\tvdpbf16ps (%2), %%zmm1, %%zmm0\n\tvmovups %%zmm0, (%0)"
               :
               : "r"(sums), "r"(a), "r"(b)
               : "memory");
}

TEST(BFloat16Pairs, AreAddedByTheInstructionAsByPlainCode) {
  if (!__builtin_cpu_supports("avx512bf16")) GTEST_SKIP() << "this CPU has no vdpbf16ps";
  Numbers numbers;
  for (int repeat = 0; repeat < 20000; ++repeat) {
    float before[kWords], sums[kWords];
    uint32_t a[kWords], b[kWords];
    for (int i = 0; i < kWords; ++i) {
      before[i] = sums[i] = numbers.float32();
      a[i] = numbers.bfloat16() | numbers.bfloat16() << 16;
      b[i] = numbers.bfloat16() | numbers.bfloat16() << 16;
    }
    add_pairs(sums, a, b);
    for (int i = 0; i < kWords; ++i) {
      const float upper = add_product(before[i], of_bits(a[i] & 0xffff0000), of_bits(b[i] & 0xffff0000));
      const float plain = add_product(upper, of_bits(a[i] << 16), of_bits(b[i] << 16));
      ASSERT_TRUE(same_number(sums[i], plain))
          << std::hex << sums[i] << " and not " << plain << " of " << before[i] << ", " << a[i] << ", " << b[i];
    }
  }
}
#endif

class BFloat16Rows : public EachInstructionSet {
 protected:
  bool fuses() const { return std::string(kernels().name) != "baseline"; }

  std::vector<float> product(const WeightMatrix& matrix, Held held, const std::vector<float>& rows) {
    const LinearSpec spec{.name = "some",
                          .in_features = matrix.in_features,
                          .out_features = matrix.out_features,
                          .weight_type = held.type,
                          .weight_group = held.group,
                          .row_type = held.row_type};
    const auto prepared = backend_.moe().prepare_linear(spec, matrix, {});
    const auto count = static_cast<int64_t>(rows.size()) / matrix.in_features;
    std::vector<float> out(count * matrix.out_features), in = rows;
    backend_.moe().linear(*prepared, float_matrix(in.data(), count, matrix.in_features),
                          float_matrix(nullptr, count, matrix.out_features),
                          float_matrix(out.data(), count, matrix.out_features), {});
    return out;
  }

  cpu::CpuDevice backend_{kernels(), 2};
};
INSTANTIATE_TEST_SUITE_P(Cpu, BFloat16Rows, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

// Sums of numbers that are subnormal, infinite or none, in the order of depth.
TEST_P(BFloat16Rows, GiveTheBitsOfThePlainForm) {
  if (!fuses()) GTEST_SKIP() << "this set rounds products before it adds them";
  constexpr int64_t kColumns = 37;
  Numbers numbers;
  for (const int64_t depth : {1, 2, 3, 31, 65, 600}) {
    std::vector<uint16_t> weights(kColumns * depth);
    for (uint16_t& weight : weights) weight = numbers.bfloat16();
    const WeightMatrix matrix{weights.data(), DType::kBFloat16, kColumns, depth, depth, 1};
    for (const int64_t rows : {1, 2, 5, 12, 40}) {
      std::vector<float> in(rows * depth);
      for (float& value : in) value = numbers.float32();
      const std::vector<float> out = product(matrix, {WeightType::kBFloat16, 0, RowType::kBFloat16}, in);
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t column = 0; column < kColumns; ++column) {
          float sum = 0;
          for (int64_t k = 0; k < depth; ++k)
            sum = add_product(sum, from_bfloat16(to_bfloat16(in[row * depth + k])),
                              from_bfloat16(weights[column * depth + k]));
          ASSERT_TRUE(same_number(out[row * kColumns + column], sum + 0.0f))
              << out[row * kColumns + column] << " and not " << sum << ", row " << row << " of " << rows << ", column "
              << column << ", depth " << depth;
        }
    }
  }
}

// The order of sums is that of rows of floats, and it is the same with pairs.
TEST_P(BFloat16Rows, GiveTheBitsOfRowsThatWereRoundedBefore) {
  for (Held held : kEveryHeld)
    for (const int32_t width : {1, 3, 30, 33, 130, 519}) {
      RandomLayer random({.hidden = 45, .intermediate = width, .held = held});
      const WeightMatrix& matrix = random.host.experts[0].down;
      for (const int64_t rows : {1, 2, 3, 5, 13, 100}) {
        std::vector<float> in = random.hidden(rows * width);
        in.resize(rows * width);
        std::vector<float> rounded = in;
        for (float& value : rounded) value = from_bfloat16(to_bfloat16(value));
        held.row_type = RowType::kFloat32;
        const std::vector<float> expected = product(matrix, held, rounded);
        held.row_type = RowType::kBFloat16;
        const std::vector<float> out = product(matrix, held, in);
        ASSERT_EQ(0, std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)))
            << "type " << static_cast<int>(held.type) << " in groups of " << held.group << ", " << rows << " rows of "
            << width;
      }
    }
}

TEST_P(BFloat16Rows, KeepNaNAndInfinityInTheirToken) {
  for (const Held held : kEveryBFloat16Rows)
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), of_bits(0x7f800001)}) {
      RandomLayer layer({.hidden = 51, .intermediate = 30, .held = held});
      const std::unique_ptr<PreparedExperts> prepared = prepare(backend_, layer);
      const Choices choices = round_robin(30, 2, 4);
      std::vector<float> hidden = layer.hidden(30);
      const std::vector<float> clean = run_experts(backend_, *prepared, layer.spec, hidden, choices);
      hidden[11 * 51 + 7] = bad;
      const std::vector<float> output = run_experts(backend_, *prepared, layer.spec, hidden, choices);
      for (int64_t i = 0; i < 30 * 51; ++i) {
        if (i / 51 != 11) {
          EXPECT_EQ(output[i], clean[i]) << "element " << i;
        } else if (std::isnan(bad)) {
          EXPECT_TRUE(std::isnan(output[i])) << "element " << i;
        }
      }
    }
}

// A set without the instruction gives what one with it gives: whole layers, their activations too.
TEST(BFloat16Sets, GiveTheSameBits) {
  for (const Held held : kEveryBFloat16Rows)
    for (const int64_t tokens : {1, 7, 90}) {
      std::vector<float> first;
      for (const cpu::Kernels* kernels : cpu::supported_kernels()) {
        if (std::string(kernels->name) == "baseline") continue;
        cpu::CpuDevice backend(*kernels, 2);
        RandomLayer layer({.hidden = 131, .intermediate = 69, .held = held, .biases = true});
        const std::vector<float> output =
            run_experts(backend, *prepare(backend, layer), layer.spec, layer.hidden(tokens), round_robin(tokens, 2, 4));
        if (first.empty()) first = output;
        EXPECT_EQ(output, first) << kernels->name;
      }
    }
}

}  // namespace
}  // namespace moe::test
