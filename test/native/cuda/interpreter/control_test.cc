// Divergence, barriers, shuffles and votes.
#include "cuda/interpreter/bench.h"

namespace moe::ptx::test {
namespace {

TEST(Divergence, LanesGoTheirWaysAndMeetAgain) {
  // Even lanes loop tid times, odd lanes not at all; the ballot behind counts all of them.
  const auto out = Bench::run(R"(
    and.b32 %r10, %r1, 1;
    setp.ne.s32 %p1, %r10, 0;
    mov.u32 %r11, 0;
    mov.u32 %r12, 0;
    @%p1 bra DONE;
  LOOP:
    setp.ge.u32 %p2, %r12, %r1;
    @%p2 bra DONE;
    add.u32 %r11, %r11, 2;
    add.u32 %r12, %r12, 1;
    bra.uni LOOP;
  DONE:
    mov.pred %p3, -1;
    vote.sync.ballot.b32 %r13, %p3, -1;
    popc.b32 %r14, %r13;
    mad.lo.u32 %r15, %r14, 1000, %r11;
    st.global.u32 [%rd3], %r15;)");
  for (uint32_t lane = 0; lane < 32; ++lane) EXPECT_EQ(out[lane], 32000 + (lane % 2 ? 0 : 2 * lane));
}

TEST(Divergence, ATableOfBranchesTakesEachLaneToItsTarget) {
  const auto out = Bench::run(R"(
    and.b32 %r10, %r1, 3;
    TABLE: .branchtargets A, B, A, C;
    brx.idx %r10, TABLE;
  A: mov.u32 %r11, 1; bra END;
  B: mov.u32 %r11, 2; bra END;
  C: mov.u32 %r11, 3;
  END: st.global.u32 [%rd3], %r11;)");
  for (uint32_t lane = 0; lane < 32; ++lane) EXPECT_EQ(out[lane], lane % 4 == 1 ? 2u : lane % 4 == 3 ? 3u : 1u);
}

TEST(Divergence, NamesOfInlineAssemblyStayInTheirBraces) {
  const auto out = Bench::run(R"(
    { .reg .pred p; setp.lt.u32 p, %r1, 16; @p mov.u32 %r10, 1; @!p mov.u32 %r10, 2; }
    { .reg .b32 p; mov.u32 p, 5; add.u32 %r10, %r10, p; }
    st.global.u32 [%rd3], %r10;)");
  EXPECT_EQ(out[0], 6u);
  EXPECT_EQ(out[31], 7u);
}

TEST(Registers, SurviveAllocationAroundALoop) {
  // %r20 is set in one round and used in the next; %r30.. come and go meanwhile.
  std::string body =
      "mov.u32 %r19, 0; mov.u32 %r21, 0;\nLOOP: setp.eq.u32 %p1, %r19, 0;\n@!%p1 bra SECOND;\n"
      "mov.u32 %r20, 77;\nbra NEXT;\nSECOND: add.u32 %r21, %r21, %r20;\nNEXT:\n";
  for (int i = 30; i < 60; ++i)
    body += "add.u32 %r" + std::to_string(i) + ", %r19, 1; add.u32 %r" + std::to_string(i + 1) + ", %r" +
            std::to_string(i) + ", 1;\n";
  body += "add.u32 %r19, %r19, 1; setp.lt.u32 %p2, %r19, 4; @%p2 bra LOOP; st.global.u32 [%rd3], %r21;";
  EXPECT_EQ(Bench::run(body)[7], 3 * 77u);
}

TEST(Registers, AreFew) {
  std::string body = "mov.u32 %r10, 1;";
  for (int i = 11; i < 90; ++i) body += "add.u32 %r" + std::to_string(i) + ", %r" + std::to_string(i - 1) + ", 1;\n";
  Module module(Bench::wrapped(body + "st.global.u32 [%rd3], %r89;"));
  EXPECT_LT(module.kernel("k").units, 40u);
}

TEST(Barriers, MakeWritesOfOneWarpVisibleToAnother) {
  const auto out = Bench::run(R"(
    shl.b32 %r10, %r1, 2;
    mov.u32 %r11, fixed;
    add.u32 %r12, %r11, %r10;
    st.shared.u32 [%r12], %r1;
    bar.sync 0;
    sub.u32 %r13, 63, %r1;
    shl.b32 %r13, %r13, 2;
    add.u32 %r13, %r11, %r13;
    ld.shared.u32 %r14, [%r13];
    st.global.u32 [%rd3], %r14;)",
                              {.threads = 64});
  EXPECT_EQ(out[5], 58u);
  EXPECT_EQ(out[63], 0u);
}

TEST(Barriers, CountWhatTheirThreadsSay) {
  const auto out = Bench::run(R"(
    setp.lt.u32 %p1, %r1, 40;
    bar.red.popc.u32 %r10, 0, %p1;
    bar.red.and.pred %p2, 0, %p1;
    bar.red.or.pred %p3, 0, %p1;
    selp.u32 %r11, 100, 0, %p2;
    selp.u32 %r12, 1000, 0, %p3;
    add.u32 %r10, %r10, %r11;
    add.u32 %r10, %r10, %r12;
    st.global.u32 [%rd3], %r10;)",
                              {.threads = 64});
  EXPECT_EQ(out[0], 1040u);
  EXPECT_EQ(out[63], 1040u);
}

TEST(Barriers, InDivergentCodeAreFaults) {
  EXPECT_EQ(Bench::fault("setp.lt.u32 %p1, %r1, 16; @%p1 bra SKIP; bar.sync 0; SKIP:"), FaultKind::kBarrier);
  EXPECT_EQ(Bench::fault("setp.lt.u32 %p1, %r1, 16; @%p1 bar.sync 0;"), FaultKind::kBarrier);
}

TEST(Barriers, ThatAWarpNeverReachesAreDeadlocksUnlessItHasEnded) {
  EXPECT_EQ(Bench::fault("setp.lt.u32 %p1, %r1, 32; @%p1 bra A; bar.sync 1; ret; A: bar.sync 2;", {.threads = 64}),
            FaultKind::kDeadlock);
  const auto out =
      Bench::run("setp.lt.u32 %p1, %r1, 32; st.global.u32 [%rd3], %r1; @%p1 ret; bar.sync 0;", {.threads = 64});
  EXPECT_EQ(out[40], 40u);
}

TEST(Barriers, OfSomeWarpsOrderThoseWarps) {
  const char* const code = R"(
    shr.u32 %r10, %r1, 5;
    setp.eq.u32 %p1, %r10, 2;
    @%p1 ret;
    mov.u32 %r11, fixed;
    and.b32 %r12, %r1, 31;
    shl.b32 %r12, %r12, 2;
    add.u32 %r11, %r11, %r12;
    setp.eq.u32 %p2, %r10, 0;
    @%p2 bra WRITER;
    bar.sync 3, 64;
    ld.shared.u32 %r13, [%r11];
    st.global.u32 [%rd3], %r13;
    ret;
  WRITER:
    st.shared.u32 [%r11], %r1;
    bar.arrive 3, 64;)";
  EXPECT_NO_THROW(Bench::counters(code, {.threads = 96}));
}

TEST(Budget, EndsAnEndlessLoop) {
  BenchOptions options;
  options.limits.instructions = 100'000;
  EXPECT_EQ(Bench::fault("LOOP: bra LOOP;", options), FaultKind::kTooLong);
}

struct ShuffleCase {
  const char* code;
  uint32_t (*expected)(uint32_t lane);
};

class Shuffles : public testing::TestWithParam<ShuffleCase> {};
TEST_P(Shuffles, TakeValuesFromOtherLanes) {
  const auto out =
      Bench::run(std::string("add.u32 %r10, %r1, 100;\n") + GetParam().code + "\nst.global.u32 [%rd3], %r11;");
  for (uint32_t lane = 0; lane < 32; ++lane) EXPECT_EQ(out[lane], GetParam().expected(lane)) << lane;
}
INSTANTIATE_TEST_SUITE_P(
    All, Shuffles,
    testing::Values(
        ShuffleCase{"shfl.sync.bfly.b32 %r11, %r10, 16, 31, -1;", [](uint32_t l) { return 100 + (l ^ 16); }},
        ShuffleCase{"shfl.sync.up.b32 %r11, %r10, 3, 0, -1;", [](uint32_t l) { return 100 + (l < 3 ? l : l - 3); }},
        ShuffleCase{"shfl.sync.down.b32 %r11, %r10, 3, 31, -1;", [](uint32_t l) { return 100 + (l > 28 ? l : l + 3); }},
        ShuffleCase{"shfl.sync.idx.b32 %r11, %r10, 5, 31, -1;", [](uint32_t) { return 105u; }},
        // segments of 8: mask 0x18 in bits 8 to 12
        ShuffleCase{"shfl.sync.idx.b32 %r11, %r10, 2, 0x181f, -1;", [](uint32_t l) { return 100 + (l & ~7u) + 2; }},
        ShuffleCase{"shfl.sync.down.b32 %r11|%p1, %r10, 3, 31, -1; selp.u32 %r11, %r11, 0, %p1;",
                    [](uint32_t l) { return l > 28 ? 0 : 103 + l; }}),
    opcode_name<ShuffleCase>);

TEST(Warps, VoteMatchAndReduce) {
  const auto out = Bench::run(R"(
    setp.lt.u32 %p1, %r1, 7;
    vote.sync.ballot.b32 %r10, %p1, -1;
    vote.sync.any.pred %p2, %p1, -1;
    vote.sync.all.pred %p3, %p1, -1;
    selp.u32 %r11, 0x10000, 0, %p2;
    selp.u32 %r12, 0x20000, 0, %p3;
    and.b32 %r13, %r1, 1;
    match.any.sync.b32 %r14, %r13, -1;
    redux.sync.max.u32 %r15, %r1, -1;
    add.u32 %r10, %r10, %r11;
    add.u32 %r10, %r10, %r12;
    setp.eq.u32 %p4, %r14, 0x55555555;
    selp.u32 %r16, 0x40000, 0, %p4;
    add.u32 %r10, %r10, %r16;
    shl.b32 %r15, %r15, 20;
    add.u32 %r10, %r10, %r15;
    st.global.u32 [%rd3], %r10;)");
  EXPECT_EQ(out[0], (31u << 20) + 0x40000u + 0x10000u + 0x7fu);
  EXPECT_EQ(out[1], (31u << 20) + 0x10000u + 0x7fu);
}

TEST(Warps, WaitForLanesThatAreStillElsewhere) {
  // The branch of lane 0 stands behind the shuffle in the text.
  const auto out = Bench::run(R"(
    mov.u32 %r10, %r1;
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra FAR;
  BACK:
    shfl.sync.idx.b32 %r11, %r10, 0, 31, -1;
    bar.warp.sync -1;
    st.global.u32 [%rd3], %r11;
    ret;
  FAR:
    mov.u32 %r10, 77;
    bra BACK;)");
  for (uint32_t lane = 0; lane < 32; ++lane) EXPECT_EQ(out[lane], 77u);
}

TEST(Warps, NeedTheLanesTheyName) {
  EXPECT_EQ(Bench::fault("setp.lt.u32 %p1, %r1, 16; @%p1 shfl.sync.bfly.b32 %r10, %r1, 1, 31, -1;"),
            FaultKind::kBarrier);
  EXPECT_EQ(Bench::fault("setp.lt.u32 %p1, %r1, 16; @%p1 vote.sync.ballot.b32 %r10, %p1, -1;"), FaultKind::kBarrier);
  EXPECT_EQ(Bench::fault("setp.lt.u32 %p1, %r1, 16; @%p1 bra A; bar.sync 0; ret; A: bar.warp.sync -1; bar.sync 0;"),
            FaultKind::kBarrier);
  EXPECT_NO_THROW(Bench::counters("setp.lt.u32 %p1, %r1, 16; @%p1 shfl.sync.bfly.b32 %r10, %r1, 1, 31, 0xffff;"));
}

}  // namespace
}  // namespace moe::ptx::test
