// What memory forgives and what it does not.
#include <algorithm>

#include "cuda/interpreter/bench.h"

namespace moe::ptx::test {
namespace {

TEST(Global, AccessesOutsideOfAnAllocationAreFaults) {
  EXPECT_EQ(Bench::fault("st.global.u32 [%rd3+128], %r1;"), FaultKind::kOutOfBounds);
  EXPECT_EQ(Bench::fault("ld.global.u32 %r10, [%rd2+-4];"), FaultKind::kOutOfBounds);
  EXPECT_EQ(Bench::fault("mov.u64 %rd10, 0; ld.global.u32 %r10, [%rd10];"), FaultKind::kOutOfBounds);
}

TEST(Global, FaultsNameTheInstructionAndTheMemory) {
  Bench::fault("st.global.u32 [%rd3+4], %r1;");
  EXPECT_NE(Bench::message().find("k: out of bounds: a store of 4 bytes"), std::string::npos) << Bench::message();
  EXPECT_NE(Bench::message().find("128 bytes into memory of 128 bytes"), std::string::npos) << Bench::message();
  EXPECT_NE(Bench::message().find("st.global.u32 [%rd3+4], %r1;"), std::string::npos) << Bench::message();
}

TEST(Global, MisalignedAccessesAreFaults) {
  EXPECT_EQ(Bench::fault("ld.global.u32 %r10, [%rd1+2];", {.in = {1, 2}}), FaultKind::kMisaligned);
  EXPECT_EQ(Bench::fault("ld.global.v2.u32 {%r10, %r11}, [%rd1+4];", {.in = {1, 2, 3}}), FaultKind::kMisaligned);
}

TEST(Global, NarrowLoadsExtendAndNarrowStoresKeepTheRest) {
  const auto out = Bench::run(R"(
    ld.global.s8 %r10, [%rd1+1];
    ld.global.u8 %r11, [%rd1+1];
    ld.global.s16 %r12, [%rd1+2];
    st.global.u32 [%rd2], %r10;
    st.global.u32 [%rd2+4], %r11;
    st.global.u32 [%rd2+8], %r12;
    mov.u32 %r13, -1;
    st.global.u32 [%rd2+12], %r13;
    mov.u16 %h1, 0x1200;
    st.global.u8 [%rd2+13], %h1;)",
                              {.threads = 1, .in = {0x8001ff00}, .out_words = 4});
  EXPECT_EQ(out, (std::vector<uint32_t>{0xffffffff, 0xff, 0xffff8001, 0xffff00ff}));
}

TEST(Undefined, ValuesMayMoveButNotDecide) {
  const BenchOptions nothing{.in = {}};
  EXPECT_NO_THROW(
      Bench::counters("ld.global.u32 %r10, [%rd1]; add.u32 %r10, %r10, 1; st.global.u32 [%rd3], %r10;", nothing));
  EXPECT_EQ(Bench::fault("ld.global.u32 %r10, [%rd1]; setp.eq.u32 %p1, %r10, 0; @%p1 bra X; X:", nothing),
            FaultKind::kUndefined);
  EXPECT_EQ(Bench::fault("ld.global.u32 %r10, [%rd1]; cvt.u64.u32 %rd10, %r10; add.u64 %rd10, %rd10, %rd1; "
                         "ld.global.u32 %r11, [%rd10];",
                         nothing),
            FaultKind::kUndefined);
  EXPECT_EQ(Bench::fault("add.u32 %r10, %r11, 1; setp.eq.u32 %p1, %r10, 0; @%p1 mov.u32 %r12, 0;"),
            FaultKind::kUndefined);
  EXPECT_EQ(Bench::fault("ld.shared.u32 %r10, [fixed]; setp.eq.u32 %p1, %r10, 0; @%p1 bra X; X:"),
            FaultKind::kUndefined);
}

TEST(Undefined, ResultsAreRefusedWhereTheHostReadsThem) {
  try {
    Bench::run("ld.global.u32 %r10, [%rd1]; st.global.u32 [%rd3], %r10;");
    ADD_FAILURE();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind(), FaultKind::kUndefined);
  }
  EXPECT_THROW(Bench::run("setp.lt.u32 %p1, %r1, 31; @%p1 st.global.u32 [%rd3], %r1;"), Fault);
}

TEST(Undefined, SidesOfADecidedConditionDoNotMatter) {
  EXPECT_NO_THROW(
      Bench::counters("setp.gt.u32 %p1, %r1, 99; ld.global.u32 %r10, [%rd1]; setp.eq.u32 %p2, %r10, 0; "
                      "and.pred %p3, %p1, %p2; @%p3 bra X; X:"));
  EXPECT_NO_THROW(
      Bench::counters("ld.global.u32 %r10, [%rd1]; setp.lt.u32 %p1, %r1, 99; selp.u32 %r11, 4, %r10, %p1; "
                      "setp.eq.u32 %p2, %r11, 0; @%p2 bra X; X:"));
}

constexpr const char* kNeighbour = R"(
    shl.b32 %r10, %r1, 2;
    mov.u32 %r11, fixed;
    add.u32 %r10, %r11, %r10;
    st.shared.u32 [%r10], %r1;
    SYNC
    xor.b32 %r12, %r1, DISTANCE;
    shl.b32 %r12, %r12, 2;
    add.u32 %r12, %r11, %r12;
    ld.shared.u32 %r13, [%r12];)";

std::string neighbour(const std::string& sync, const std::string& distance) {
  std::string code = kNeighbour;
  code.replace(code.find("SYNC"), 4, sync);
  code.replace(code.find("DISTANCE"), 8, distance);
  return code;
}

TEST(SharedRaces, NeedABarrierBetweenWarpsAndBetweenLanes) {
  const BenchOptions two_warps{.threads = 64};
  EXPECT_EQ(Bench::fault(neighbour("", "32"), two_warps), FaultKind::kSharedRace);
  EXPECT_EQ(Bench::fault(neighbour("bar.warp.sync -1;", "32"), two_warps), FaultKind::kSharedRace);
  EXPECT_EQ(Bench::fault(neighbour("", "1"), two_warps), FaultKind::kSharedRace);
  EXPECT_NO_THROW(Bench::counters(neighbour("bar.sync 0;", "32"), two_warps));
  EXPECT_NO_THROW(Bench::counters(neighbour("bar.warp.sync -1;", "1"), two_warps));
  EXPECT_NO_THROW(Bench::counters(neighbour("", "0"), two_warps));
}

TEST(SharedRaces, OverwritingWhatAnotherReadsNeedsABarrier) {
  const std::string read = neighbour("bar.sync 0;", "32");
  EXPECT_EQ(Bench::fault(read + "st.shared.u32 [%r10], %r1;", {.threads = 64}), FaultKind::kSharedRace);
  EXPECT_NO_THROW(Bench::counters(read + "bar.sync 0; st.shared.u32 [%r10], %r1;", {.threads = 64}));
}

TEST(SharedRaces, HalvesOfAWordHaveTheirOwnWriters) {
  EXPECT_NO_THROW(
      Bench::counters("shl.b32 %r10, %r1, 1; mov.u32 %r11, fixed; add.u32 %r10, %r10, %r11; mov.u16 %h1, 1; "
                      "st.shared.u16 [%r10], %h1;"));
  EXPECT_EQ(Bench::fault("mov.u16 %h1, 1; st.shared.u16 [fixed], %h1;"), FaultKind::kSharedRace);
}

TEST(SharedRaces, AtomicOperationsDoNotRace) {
  const auto out = Bench::run(R"(
    setp.eq.u32 %p1, %r1, 0;
    mov.u32 %r10, 0;
    @%p1 st.shared.u32 [fixed], %r10;
    bar.sync 0;
    atom.shared.add.u32 %r11, [fixed], 2;
    bar.sync 0;
    ld.shared.u32 %r12, [fixed];
    st.global.u32 [%rd3], %r12;)",
                              {.threads = 96});
  EXPECT_EQ(out[50], 192u);
  EXPECT_EQ(Bench::fault("mov.u32 %r10, 0; setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [fixed], %r10;"
                         "atom.shared.add.u32 %r11, [fixed], 2;",
                         {.threads = 64}),
            FaultKind::kSharedRace);
}

TEST(Shared, EndsWhereItEnds) {
  EXPECT_EQ(Bench::fault("mov.u32 %r10, dynamic; st.shared.u32 [%r10+64], %r1;", {.threads = 1, .shared_bytes = 64}),
            FaultKind::kOutOfBounds);
  EXPECT_NO_THROW(
      Bench::counters("mov.u32 %r10, dynamic; st.shared.u32 [%r10+60], %r1;", {.threads = 1, .shared_bytes = 64}));
}

TEST(GlobalRaces, BetweenBlocksOfOneLaunchAreFaults) {
  EXPECT_EQ(Bench::fault("st.global.u32 [%rd2], %r1;", {.threads = 1, .blocks = 2}), FaultKind::kGlobalRace);
  EXPECT_EQ(Bench::fault("st.global.u32 [%rd2], %r1;", {.threads = 64}), FaultKind::kGlobalRace);
  EXPECT_EQ(
      Bench::fault("setp.eq.u32 %p1, %r2, 0; @%p1 st.global.u32 [%rd2], %r1; @%p1 ret; ld.global.u32 %r10, [%rd2];",
                   {.threads = 1, .blocks = 2, .limits = {.threads = 1}}),
      FaultKind::kGlobalRace);
  EXPECT_NO_THROW(Bench::counters("atom.global.add.u32 %r10, [%rd2], 1;", {.threads = 64, .blocks = 3}));
}

TEST(GlobalRaces, ReadOnlyLoadsSeeNothingOfTheirLaunch) {
  EXPECT_EQ(Bench::fault("st.global.u32 [%rd3], %r1; ld.global.nc.u32 %r10, [%rd3];"), FaultKind::kGlobalRace);
}

constexpr const char* kCopy = R"(
    mov.u32 %r11, fixed;
    shl.b32 %r10, %r1, 4;
    add.u32 %r10, %r11, %r10;
    mul.wide.u32 %rd10, %r1, 16;
    add.s64 %rd10, %rd1, %rd10;
    cp.async.cg.shared.global [%r10], [%rd10], 16;
    cp.async.commit_group;
)";

TEST(AsyncCopies, ComeWithTheWaitAndNotBefore) {
  std::vector<uint32_t> in(32 * 4);
  for (uint32_t i = 0; i < in.size(); ++i) in[i] = i;
  const BenchOptions options{.in = in};
  const std::string use = "ld.shared.u32 %r12, [%r10+4]; st.global.u32 [%rd3], %r12;";
  EXPECT_EQ(Bench::run(kCopy + std::string("cp.async.wait_group 0;") + use, options)[3], 13u);
  EXPECT_EQ(Bench::fault(kCopy + use + "cp.async.wait_group 0;", options), FaultKind::kSharedRace);
  EXPECT_EQ(Bench::fault(kCopy + std::string("cp.async.wait_group 1;") + use, options), FaultKind::kSharedRace);
  EXPECT_EQ(Bench::fault(kCopy, options), FaultKind::kPendingCopies);
  // Another empty group makes the first one due.
  EXPECT_EQ(Bench::run(kCopy + std::string("cp.async.commit_group; cp.async.wait_group 1;") + use, options)[3], 13u);
}

TEST(AsyncCopies, OfOtherThreadsNeedABarrierToo) {
  const BenchOptions options{.threads = 64, .in = std::vector<uint32_t>(64 * 4, 7)};
  const std::string other =
      "xor.b32 %r13, %r1, 32; shl.b32 %r13, %r13, 4; add.u32 %r13, %r11, %r13; ld.shared.u32 %r12, [%r13];";
  const std::string copy = std::string(kCopy);
  EXPECT_EQ(Bench::fault(copy + "cp.async.wait_group 0;" + other, options), FaultKind::kSharedRace);
  EXPECT_EQ(Bench::fault(copy + "bar.sync 0; cp.async.wait_group 0;" + other, options), FaultKind::kSharedRace);
  EXPECT_NO_THROW(Bench::counters(copy + "cp.async.wait_group 0; bar.sync 0;" + other, options));
}

TEST(AsyncCopies, FillWithZerosWhatTheyDoNotRead) {
  const auto out = Bench::run(R"(
    mov.u32 %r11, fixed;
    mov.u32 %r12, 8;
    cp.async.cg.shared.global [%r11], [%rd1], 16, %r12;
    cp.async.wait_all;
    ld.shared.v4.u32 {%r13, %r14, %r15, %r16}, [%r11];
    st.global.v4.u32 [%rd2], {%r13, %r14, %r15, %r16};)",
                              {.threads = 1, .in = {1, 2, 3, 4}, .out_words = 4});
  EXPECT_EQ(out, (std::vector<uint32_t>{1, 2, 0, 0}));
  // Nothing is read, so the address may be any.
  EXPECT_NO_THROW(
      Bench::counters("mov.u64 %rd10, 0; mov.u32 %r12, 0; mov.u32 %r11, fixed;"
                      "cp.async.cg.shared.global [%r11], [%rd10], 16, %r12; cp.async.wait_all;",
                      {.threads = 1}));
}

TEST(Traffic, CountsPhasesAndSectors) {
  const auto strided = [](int stride) {
    return Bench::counters("mov.u32 %r11, fixed; mul.lo.u32 %r10, %r1, " + std::to_string(stride) +
                           "; add.u32 %r10, %r11, %r10; st.shared.u32 [%r10], %r1;");
  };
  EXPECT_EQ(strided(4).shared_phases, 1u);
  EXPECT_EQ(strided(8).shared_phases, 2u);
  EXPECT_EQ(strided(128).shared_phases, 32u);
  EXPECT_EQ(strided(128).least_shared_phases, 1u);
  const auto global = [](int stride) {
    return Bench::counters("mul.wide.u32 %rd10, %r1, " + std::to_string(stride) +
                               "; add.u64 %rd10, %rd1, %rd10; ld.global.u32 %r10, [%rd10];",
                           {.in = std::vector<uint32_t>(2048, 1)});
  };
  EXPECT_EQ(global(4).sectors, 4u);
  EXPECT_EQ(global(4).least_sectors, 4u);
  EXPECT_EQ(global(32).sectors, 32u);
  EXPECT_EQ(global(32).least_sectors, 4u);
  EXPECT_EQ(global(0).sectors, 1u);
}

TEST(Launches, AreCheckedAsTheDeviceChecksThem) {
  EXPECT_EQ(Bench::fault("", {.threads = 2048}), FaultKind::kBadLaunch);
  EXPECT_EQ(Bench::fault("", {.blocks = 0, .out_words = 1}), FaultKind::kBadLaunch);
  EXPECT_EQ(Bench::fault("", {.shared_bytes = 200 * 1024}), FaultKind::kBadLaunch);
}

}  // namespace
}  // namespace moe::ptx::test
