// One instruction at a time against what the PTX ISA says of it.
#include <cmath>
#include <limits>

#include "cuda/interpreter/bench.h"

namespace moe::ptx::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

struct Case {
  const char* code;  // computes %r10 from %r11, %r12, %r13
  uint32_t a, b, c, expected;
};

void PrintTo(const Case& test, std::ostream* out) { *out << test.code; }

class OneInstruction : public testing::TestWithParam<Case> {};

TEST_P(OneInstruction, ComputesItsResult) {
  const Case& test = GetParam();
  const auto out = Bench::run(std::string("ld.global.u32 %r11, [%rd1];\n ld.global.u32 %r12, [%rd1+4];\n"
                                          "ld.global.u32 %r13, [%rd1+8];\n mov.b32 %f11, %r11;\n"
                                          "mov.b32 %f12, %r12;\n mov.b32 %f13, %r13;\n") +
                                  test.code + "\n st.global.u32 [%rd3], %r10;",
                              {.in = {test.a, test.b, test.c}});
  EXPECT_EQ(out[0], test.expected);
  EXPECT_EQ(out[31], test.expected);
}

constexpr uint32_t kMinus = 0xffffffffu;

INSTANTIATE_TEST_SUITE_P(
    Integers, OneInstruction,
    testing::Values(
        Case{"add.s32 %r10, %r11, %r12;", 0x7fffffff, 1, 0, 0x80000000},
        Case{"sub.s32 %r10, %r11, %r12;", 3, 5, 0, 0xfffffffe},
        Case{"mul.lo.s32 %r10, %r11, %r12;", 0x10001, 0x10001, 0, 0x20001},
        Case{"mul.hi.u32 %r10, %r11, %r12;", 0x80000000, 6, 0, 3},
        Case{"mul.hi.s32 %r10, %r11, %r12;", 0x80000000, 6, 0, 0xfffffffd},
        Case{"mul.wide.s32 %rd10, %r11, %r12; shr.u64 %rd11, %rd10, 32; cvt.u32.u64 %r10, %rd11;", kMinus, 2, 0,
             kMinus},
        Case{"mul.wide.u32 %rd10, %r11, %r12; shr.u64 %rd11, %rd10, 32; cvt.u32.u64 %r10, %rd11;", kMinus, 2, 0, 1},
        Case{"mad.lo.s32 %r10, %r11, %r12, %r13;", 7, 6, kMinus, 41},
        Case{"div.s32 %r10, %r11, %r12;", static_cast<uint32_t>(-7), 2, 0, static_cast<uint32_t>(-3)},
        Case{"div.u32 %r10, %r11, %r12;", static_cast<uint32_t>(-7), 2, 0, 0x7ffffffc},
        Case{"rem.s32 %r10, %r11, %r12;", static_cast<uint32_t>(-7), 2, 0, kMinus},
        Case{"div.s32 %r10, %r11, %r12;", 0x80000000, kMinus, 0, 0x80000000},
        Case{"shl.b32 %r10, %r11, %r12;", 1, 32, 0, 0}, Case{"shl.b32 %r10, %r11, %r12;", 1, 31, 0, 0x80000000},
        Case{"shr.s32 %r10, %r11, %r12;", 0x80000000, 40, 0, kMinus},
        Case{"shr.u32 %r10, %r11, %r12;", 0x80000000, 31, 0, 1},
        Case{"min.s32 %r10, %r11, %r12;", kMinus, 1, 0, kMinus}, Case{"min.u32 %r10, %r11, %r12;", kMinus, 1, 0, 1},
        Case{"max.s32 %r10, %r11, %r12;", kMinus, 1, 0, 1}, Case{"abs.s32 %r10, %r11;", kMinus, 0, 0, 1},
        Case{"neg.s32 %r10, %r11;", 5, 0, 0, static_cast<uint32_t>(-5)}, Case{"popc.b32 %r10, %r11;", 0xf0f0, 0, 0, 8},
        Case{"clz.b32 %r10, %r11;", 0, 0, 0, 32}, Case{"brev.b32 %r10, %r11;", 1, 0, 0, 0x80000000},
        Case{"bfe.u32 %r10, %r11, %r12, %r13;", 0xabcd1234, 8, 8, 0x12},
        Case{"bfe.s32 %r10, %r11, %r12, %r13;", 0x0000f000, 12, 4, kMinus},
        Case{"bfi.b32 %r10, %r11, %r12, 4, 8;", 0xab, 0xffffffff, 0, 0xfffffabf},
        Case{"lop3.b32 %r10, %r11, %r12, %r13, 0xe8;", 0xff00ff00, 0xf0f0f0f0, 0xcccccccc, 0xfcc0fcc0},
        Case{"prmt.b32 %r10, %r11, %r12, 0x7531;", 0x33221100, 0x77665544, 0, 0x77553311},
        Case{"prmt.b32 %r10, %r11, %r12, 0x8888;", 0x80, 0, 0, kMinus},
        Case{"shf.l.wrap.b32 %r10, %r11, %r12, %r13;", 0x80000000, 1, 1, 3},
        Case{"shf.r.wrap.b32 %r10, %r11, %r12, %r13;", 0x80000000, 1, 1, 0xc0000000},
        Case{"mov.b32 {%h1, %h2}, %r11; mov.b32 %r10, {%h2, %h1};", 0x12345678, 0, 0, 0x56781234},
        Case{"cvt.s32.s8 %r10, %r11;", 0x180, 0, 0, 0xffffff80}, Case{"cvt.u32.u8 %r10, %r11;", 0x180, 0, 0, 0x80},
        Case{"cvt.u16.u32 %h1, %r11; cvt.s32.s16 %r10, %h1;", 0x18000, 0, 0, 0xffff8000},
        Case{"cvt.sat.s8.s32 %r10, %r11;", 300, 0, 0, 127}),
    opcode_name<Case>);

INSTANTIATE_TEST_SUITE_P(
    Floats, OneInstruction,
    testing::Values(
        Case{"fma.rn.f32 %f10, %f11, %f12, %f13; mov.b32 %r10, %f10;", bits(1 + 0x1p-12f), bits(1 + 0x1p-12f), bits(-1),
             bits(0x1p-11f + 0x1p-24f)},
        Case{"mul.rn.f32 %f10, %f11, %f12; add.rn.f32 %f10, %f10, %f13; mov.b32 %r10, %f10;", bits(1 + 0x1p-12f),
             bits(1 + 0x1p-12f), bits(-1), bits(0x1p-11f)},
        Case{"add.ftz.f32 %f10, %f11, %f12; mov.b32 %r10, %f10;", 1, bits(-0.0f), 0, 0},
        Case{"add.f32 %f10, %f11, %f12; mov.b32 %r10, %f10;", 1, 1, 0, 2},
        Case{"min.f32 %f10, %f11, %f12; mov.b32 %r10, %f10;", bits(kNan), bits(2), 0, bits(2)},
        Case{"min.NaN.f32 %f10, %f11, %f12; mov.b32 %r10, %f10;", bits(kNan), bits(2), 0, bits(kNan)},
        Case{"max.f32 %f10, %f11, %f12; mov.b32 %r10, %f10;", bits(-0.0f), bits(0), 0, 0},
        Case{"div.rn.f32 %f10, %f11, %f12; mov.b32 %r10, %f10;", bits(1), bits(0), 0, bits(kInfinity)},
        Case{"ex2.approx.ftz.f32 %f10, %f11; mov.b32 %r10, %f10;", bits(3), 0, 0, bits(8)},
        Case{"copysign.f32 %f10, %f11, %f12; mov.b32 %r10, %f10;", bits(-1), bits(5), 0, bits(-5)},
        Case{"cvt.rni.s32.f32 %r10, %f11;", bits(2.5f), 0, 0, 2},
        Case{"cvt.rzi.s32.f32 %r10, %f11;", bits(-2.5f), 0, 0, static_cast<uint32_t>(-2)},
        Case{"cvt.rzi.s32.f32 %r10, %f11;", bits(1e20f), 0, 0, 0x7fffffff},
        Case{"cvt.rzi.u32.f32 %r10, %f11;", bits(-1), 0, 0, 0},
        Case{"cvt.rzi.s32.f32 %r10, %f11;", bits(kNan), 0, 0, 0},
        Case{"cvt.rn.f32.s32 %f10, %r11; mov.b32 %r10, %f10;", 0x7fffffff, 0, 0, bits(2147483648.0f)},
        Case{"cvt.rn.bf16.f32 %h1, %f11; mov.b32 %r10, {%h1, %h1};", bits(1 + 0x1p-8f), 0, 0, 0x3f803f80},
        Case{"cvt.rn.bf16x2.f32 %r10, %f11, %f12;", bits(1), bits(1 + 0x1p-8f + 0x1p-20f), 0, 0x3f803f81},
        Case{"cvt.rn.f16x2.f32 %r10, %f11, %f12;", bits(65520), bits(0x1p-25f), 0, 0x7c000000},
        Case{"cvt.rn.f16.f32 %h1, %f11; cvt.f32.f16 %f10, %h1; mov.b32 %r10, %f10;", bits(0x1.8p-24f), 0, 0,
             bits(0x1p-23f)},
        Case{"fma.rn.bf16x2 %r10, %r11, %r12, %r13;", 0x3f803f80, 0x40004000, 0x3f800000, 0x40404000},
        Case{"add.f16x2 %r10, %r11, %r12;", 0x3c003c00, 0x40003c00, 0, 0x42004000},
        Case{"cvt.f64.f32 %d1, %f11; add.f64 %d2, %d1, %d1; cvt.rn.f32.f64 %f10, %d2; mov.b32 %r10, %f10;", bits(1.5f),
             0, 0, bits(3)},
        Case{"setp.lt.f32 %p1, %f11, %f12; selp.u32 %r10, 1, 0, %p1;", bits(kNan), bits(1), 0, 0},
        Case{"setp.ltu.f32 %p1, %f11, %f12; selp.u32 %r10, 1, 0, %p1;", bits(kNan), bits(1), 0, 1},
        Case{"setp.neu.f32 %p1, %f11, %f11; selp.u32 %r10, 1, 0, %p1;", bits(kNan), 0, 0, 1},
        Case{"setp.nan.f32 %p1, %f11, %f12; selp.u32 %r10, 1, 0, %p1;", bits(1), bits(kNan), 0, 1},
        Case{"setp.gt.s32 %p1, %r11, %r12; setp.lt.and.s32 %p2|%p3, %r11, %r13, %p1; selp.u32 %r10, 1, 0, %p3;", 5, 1,
             3, 1}),
    opcode_name<Case>);

TEST(Opcodes, AreRefusedWhereUnknown) {
  for (const char* code : {"frobnicate.b32 %r10, %r1;", "add.cc.u32 %r10, %r1, %r1;", "mul.rz.f32 %f1, %f1, %f1;",
                           "ld.global.u32 %rd9, [%rd1], %r1;", "mov.b32 %r10, %rd1;", "mov.u32 %r10, nothing;",
                           "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%f1}, {%r1}, {%r1}, {%f1};",
                           "call (%r1), f, (%r2);", "cvt.rp.f32.f64 %f1, %d1;", "bra nowhere;"})
    EXPECT_THROW(Bench::run(code), Unsupported) << code;
}

}  // namespace
}  // namespace moe::ptx::test
