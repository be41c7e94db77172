// ldmatrix and mma.sync against plain loops over the layouts of the PTX ISA.
#include <algorithm>
#include <cmath>
#include <random>

#include "cuda/interpreter/bench.h"
#include "cuda/ptx/half.h"

namespace moe::ptx::test {
namespace {

// Every lane stores `registers` words behind one another.
std::string store_words(const std::vector<std::string>& registers) {
  std::string code =
      "mul.wide.u32 %rd20, %r1, " + std::to_string(4 * registers.size()) + "; add.u64 %rd20, %rd2, %rd20;\n";
  for (size_t i = 0; i < registers.size(); ++i)
    code += "st.global.b32 [%rd20+" + std::to_string(4 * i) + "], " + registers[i] + ";\n";
  return code;
}

std::string load_words(int count, int first, int in_word) {
  std::string code = "mul.wide.u32 %rd21, %r1, " + std::to_string(4 * count) + "; add.u64 %rd21, %rd1, %rd21;\n";
  for (int i = 0; i < count; ++i)
    code += "ld.global.b32 %r" + std::to_string(first + i) + ", [%rd21+" + std::to_string(4 * (in_word + i)) + "];\n";
  return code;
}

// m16n8k16 and m16n8k8 of a type: A row-major, B column-major, in fragments as the ISA describes them.
struct Product {
  const char* name;
  const char* type;
  int depth, per_register, a_registers, b_registers;
  uint32_t (*encode)(const float* values);  // of one register
};

uint32_t encode_bfloat16(const float* v) { return to_bfloat16(v[0]) | uint32_t{to_bfloat16(v[1])} << 16; }
uint32_t encode_float16(const float* v) { return to_float16(v[0]) | uint32_t{to_float16(v[1])} << 16; }
uint32_t encode_tf32(const float* v) { return bits(v[0]); }
uint32_t encode_int8(const float* v) {
  uint32_t out = 0;
  for (int i = 0; i < 4; ++i) out |= uint32_t{static_cast<uint8_t>(static_cast<int8_t>(v[i]))} << 8 * i;
  return out;
}

// D [16, 8] = A [16, depth] . B [8, depth]^T + C [16, 8], all row-major, as the bits of D.
std::vector<uint32_t> multiply(const Product& p, const std::vector<float>& a, const std::vector<float>& b,
                               const std::vector<float>& c) {
  const bool integers = std::string(p.type) == "s8";
  const int words = p.a_registers + p.b_registers + 4, block = 4 * p.per_register;
  std::vector<uint32_t> in(32 * words);
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int r = 0; r < p.a_registers; ++r)
      in[lane * words + r] = p.encode(&a[(g + 8 * (r % 2)) * p.depth + block * (r / 2) + p.per_register * t]);
    for (int r = 0; r < p.b_registers; ++r)
      in[lane * words + p.a_registers + r] = p.encode(&b[g * p.depth + block * r + p.per_register * t]);
    for (int e = 0; e < 4; ++e) {
      const float value = c[(g + 8 * (e / 2)) * 8 + 2 * t + e % 2];
      in[lane * words + p.a_registers + p.b_registers + e] =
          integers ? static_cast<uint32_t>(static_cast<int32_t>(value)) : bits(value);
    }
  }
  const auto list = [](const char* prefix, int first, int count) {
    std::string text = "{";
    for (int i = 0; i < count; ++i) text += (i ? ", " : "") + std::string(prefix) + std::to_string(first + i);
    return text + "}";
  };
  const std::string sum = integers ? "s32" : "f32";
  const std::string code = load_words(words, 10, 0) + "mma.sync.aligned.m16n8k" + std::to_string(p.depth) +
                           ".row.col." + sum + "." + p.type + "." + p.type + "." + sum + " " + list("%r", 40, 4) +
                           ", " + list("%r", 10, p.a_registers) + ", " + list("%r", 10 + p.a_registers, p.b_registers) +
                           ", " + list("%r", 10 + p.a_registers + p.b_registers, 4) + ";\n" +
                           store_words({"%r40", "%r41", "%r42", "%r43"});
  const auto fragments = Bench::run(code, {.in = in, .out_words = 128});
  std::vector<uint32_t> d(16 * 8);
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column)
      d[row * 8 + column] = fragments[(row % 8 * 4 + column / 2) * 4 + row / 8 * 2 + column % 2];
  return d;
}

constexpr Product kBfloat16{"bf16", "bf16", 16, 2, 4, 2, encode_bfloat16};
constexpr Product kTensorFloat32{"tf32", "tf32", 8, 1, 4, 2, encode_tf32};

class Products : public testing::TestWithParam<Product> {};

TEST_P(Products, AreThoseOfTheMatrices) {
  const Product& p = GetParam();
  std::mt19937 random(7);
  std::uniform_int_distribution<int> whole(-8, 8);  // exact in every type
  std::vector<float> a(16 * p.depth), b(8 * p.depth), c(16 * 8);
  for (auto* matrix : {&a, &b, &c})
    for (float& value : *matrix) value = static_cast<float>(whole(random));
  const std::vector<uint32_t> d = multiply(p, a, b, c);
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column) {
      double expected = c[row * 8 + column];
      for (int k = 0; k < p.depth; ++k) expected += a[row * p.depth + k] * b[column * p.depth + k];
      const uint32_t got = d[row * 8 + column];
      EXPECT_EQ(std::string(p.type) == "s8" ? static_cast<double>(static_cast<int32_t>(got)) : number(got), expected)
          << row << " " << column;
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Products,
                         testing::Values(kBfloat16, Product{"f16", "f16", 16, 2, 4, 2, encode_float16},
                                         Product{"bf16k8", "bf16", 8, 2, 2, 1, encode_bfloat16}, kTensorFloat32,
                                         Product{"s8", "s8", 32, 4, 4, 2, encode_int8}),
                         [](const testing::TestParamInfo<Product>& info) { return info.param.name; });

TEST(Products, CutOffWhatLiesBelowTheLargestTerm) {
  // 1 + 2^-24 + 2^-24: to nearest even the first sum would stay 1 and a chain of them, too; aligned to 1 with one bit
  // beyond 24, both bits count, and the result is cut to 1 + 2^-23. Of 2^-25 nothing is left.
  const auto sum = [](const char* small) {
    return number(Bench::run(
        std::string("mov.u32 %r10, 0x3f803f80; mov.u32 %r11, 0; mov.f32 %f1, 0f3F800000;") +
        "and.b32 %r20, %r1, 3; setp.eq.u32 %p1, %r20, 0; mov.u32 %r14, 0; @%p1 mov.u32 %r14, " + small + ";" +
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f10, %f11, %f12, %f13}, {%r10, %r10, "
        "%r11, %r11}, {%r14, %r11}, {%f1, %f1, %f1, %f1}; st.global.f32 [%rd3], %f10;")[0]);
  };
  EXPECT_EQ(sum("0x33803380"), 1 + 0x1p-23f);  // two products of 2^-24
  EXPECT_EQ(sum("0x33003300"), 1.0f);          // of 2^-25
}

// One value in all of A and B is `left` and `right`, in C `added`: every output is the same sum.
float sum_of(const Product& p, float left, float right, float added) {
  return number(multiply(p, std::vector<float>(16 * p.depth, left), std::vector<float>(8 * p.depth, right),
                         std::vector<float>(16 * 8, added))[0]);
}

TEST(Products, HaveTheirSizeHoweverSmallOrLarge) {
  EXPECT_EQ(sum_of(kBfloat16, 0x1p-63f, 0x1p-63f, 0), 0x1p-122f);
  EXPECT_EQ(sum_of(kBfloat16, 0x1.8p-70f, 0x1p-70f, 0), 0x1.8p-136f);  // subnormal
  EXPECT_EQ(sum_of(kBfloat16, 0x1p-133f, 0x1p+120f, 0), 0x1p-9f);      // of a subnormal
  EXPECT_EQ(sum_of(kBfloat16, 0x1p-76f, 0x1p-76f, 0), 0x1p-148f);      // products below float32's smallest
  EXPECT_EQ(sum_of(kBfloat16, 0x1p-78f, 0x1p-78f, 0), 0.0f);           // and so is their sum
  EXPECT_EQ(sum_of(kBfloat16, 0x1p-76f, -0x1p-76f, 0x1p-140f), 0x1p-140f - 0x1p-148f);
  EXPECT_EQ(sum_of(kBfloat16, 0x1p-80f, 0x1p-80f, 1), 1.0f);
  EXPECT_EQ(sum_of(kBfloat16, 0x1p+61f, 0x1p+61f, 0), 0x1p+126f);
  EXPECT_EQ(sum_of(kBfloat16, 0x1p+100f, -0x1p+100f, 0), -HUGE_VALF);
  EXPECT_EQ(sum_of(kTensorFloat32, 0x1.004p-63f, 0x1p-64f, 0), 0x1.004p-124f);
  EXPECT_EQ(sum_of(kTensorFloat32, 0x1p-140f, 0x1p+20f, 0), 0.0f);        // TF32 has no such number
  EXPECT_NEAR(sum_of(kTensorFloat32, 1e-38f, 1, 0) / 8e-38f, 1, 0x1p-9);  // of its bits
}

// Each column of B is of another size, and so are the sums that are added; rows of A are ordinary. A column alone, the
// others 0, must give the same bits: no output depends on its neighbours.
TEST(Products, DoNotDependOnTheirNeighbours) {
  const float infinity = HUGE_VALF, nan = std::nanf("");
  const float sizes[8] = {1, 1e20f, 1e-38f, infinity, nan, 1e-42f, 1e37f, -infinity};
  for (const Product& p : {kBfloat16, kTensorFloat32}) {
    std::mt19937 random(11);
    std::uniform_real_distribution<float> ordinary(-1, 1);
    std::vector<float> a(16 * p.depth), b(8 * p.depth), c(16 * 8);
    for (auto* matrix : {&a, &b, &c})
      for (float& value : *matrix) value = ordinary(random);
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 8; ++column) c[row * 8 + column] *= sizes[column];
    for (int column = 0; column < 8; ++column)
      for (int k = 0; k < p.depth; ++k) b[column * p.depth + k] *= sizes[column];
    const std::vector<uint32_t> together = multiply(p, a, b, c);
    for (int column = 0; column < 8; ++column) {
      std::vector<float> alone(b.size(), 0), added(c.size(), 0);
      std::copy_n(&b[column * p.depth], p.depth, &alone[column * p.depth]);
      for (int row = 0; row < 16; ++row) added[row * 8 + column] = c[row * 8 + column];
      const std::vector<uint32_t> d = multiply(p, a, alone, added);
      for (int row = 0; row < 16; ++row) {
        EXPECT_EQ(together[row * 8 + column], d[row * 8 + column]) << p.name << ", " << sizes[column];
        const float sum = number(together[row * 8 + column]);
        EXPECT_EQ(std::isfinite(sum), std::isfinite(sizes[column])) << p.name << ", " << sizes[column];
      }
    }
    // The sums of a column scale with it.
    for (int row = 0; row < 16; ++row) {
      EXPECT_NE(together[row * 8 + 2] & 0x7fffffff, 0u);
      EXPECT_LT(std::abs(number(together[row * 8 + 2])), 1e-36f);
    }
  }
}

TEST(Products, SpreadWhatIsUndefinedAlongRowsAndColumns) {
  // Lane 0's first register of A is undefined: rows 0 of the sums, nothing else.
  const std::string code = R"(
    mov.u32 %r10, 0; mov.u32 %r11, 0; mov.u32 %r12, 0; mov.u32 %r13, 0; mov.u32 %r14, 0; mov.u32 %r15, 0;
    mov.f32 %f1, 0f00000000;
    setp.eq.u32 %p1, %r1, 0;
    @%p1 ld.shared.u32 %r10, [fixed];
    mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f10, %f11, %f12, %f13}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f1, %f1, %f1, %f1};
    st.global.f32 [%rd3], )";
  EXPECT_THROW(Bench::run(code + "%f10;"), Fault);
  EXPECT_NO_THROW(Bench::run(code + "%f12;"));
  EXPECT_NO_THROW(Bench::run(code + "%f10; setp.lt.u32 %p2, %r1, 4; @%p2 st.global.u32 [%rd3], %r1;"));
}

constexpr const char* kFill = R"(
    mov.u32 %r11, fixed;
    shl.b32 %r12, %r1, 4;
    add.u32 %r12, %r11, %r12;
    shl.b32 %r13, %r1, 3;
    mad.lo.u32 %r14, %r13, 0x10001, 0x10000;
    add.u32 %r15, %r14, 0x20002;
    add.u32 %r16, %r15, 0x20002;
    add.u32 %r17, %r16, 0x20002;
    st.shared.v4.u32 [%r12], {%r14, %r15, %r16, %r17};
    SYNC
)";

std::string filled(const std::string& sync) {
  std::string code = kFill;
  code.replace(code.find("SYNC"), 4, sync);
  return code;
}

TEST(LoadMatrix, GivesEachLaneItsElements) {
  // Element (row, column) of matrix m holds 8 * (8 m + row) + column.
  const auto plain = Bench::run(filled("bar.warp.sync -1;") +
                                    "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r12];\n" +
                                    store_words({"%r20", "%r21", "%r22", "%r23"}),
                                {.out_words = 128});
  const auto transposed = Bench::run(filled("bar.warp.sync -1;") +
                                         "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r20, %r21}, [%r12];\n" +
                                         store_words({"%r20", "%r21"}),
                                     {.out_words = 64});
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t m = 0; m < 4; ++m) {
      const uint32_t first = 8 * (8 * m + lane / 4) + 2 * (lane % 4);
      EXPECT_EQ(plain[4 * lane + m], first | (first + 1) << 16) << lane;
      const uint32_t upper = 8 * (8 * m + 2 * (lane % 4)) + lane / 4;
      if (m < 2) {
        EXPECT_EQ(transposed[2 * lane + m], upper | (upper + 8) << 16) << lane;
      }
    }
}

TEST(LoadMatrix, IsNoBarrier) {
  EXPECT_EQ(Bench::fault(filled("") + "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r20}, [%r12];"),
            FaultKind::kSharedRace);
}

TEST(LoadMatrix, NeedsWholeWarpsAndAlignedRows) {
  EXPECT_EQ(Bench::fault(filled("bar.warp.sync -1;") +
                         "setp.lt.u32 %p1, %r1, 9; @%p1 ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r20}, [%r12];"),
            FaultKind::kBarrier);
  EXPECT_EQ(Bench::fault(filled("bar.warp.sync -1;") + "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r20}, [%r12+8];"),
            FaultKind::kMisaligned);
}

TEST(LoadMatrix, CountsBankConflicts) {
  const auto counters = [](int shift) {
    return Bench::counters("mov.u32 %r11, fixed; shl.b32 %r12, %r1, " + std::to_string(shift) +
                           "; and.b32 %r12, %r12, 4080; add.u32 %r12, %r11, %r12; "
                           "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r12];");
  };
  EXPECT_EQ(counters(4).matrix_phases, 4u);
  EXPECT_EQ(counters(7).matrix_phases, 32u);
  EXPECT_EQ(counters(7).least_matrix_phases, 4u);
}

}  // namespace
}  // namespace moe::ptx::test
