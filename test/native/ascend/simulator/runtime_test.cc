// What the simulated runtime does when it is used as it should be, and failures that are asked for.
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

#include "lab.h"

namespace ascend_sim {
namespace {

TEST(Runtime, FreshMemoryIsNotANumberInAnyFloatAndNoIndex) {
  Lab lab;
  void* const memory = lab.allocate(64);
  for (const int type : {kFloat, kFloat16, kBf16})
    for (const double value : lab.download(memory, 64 / aclDataTypeSize(type), type)) EXPECT_TRUE(std::isnan(value));
  for (const double value : lab.download(memory, 16, kInt32)) EXPECT_TRUE(value < -1) << value;
  for (const double value : lab.download(memory, 8, kInt64)) EXPECT_TRUE(value < -1) << value;
}

TEST(Runtime, TheHostCannotTouchDeviceMemory) {
  Lab lab;
  auto* const memory = static_cast<volatile char*>(lab.allocate(64));
  EXPECT_DEATH(memory[0] = 1, "");
}

TEST(Runtime, QueuedWorkIsNotThereBeforeItIsWaitedFor) {
  Lab lab;
  void* const memory = lab.allocate(64);
  void* host = nullptr;
  expect(aclrtMallocHost(&host, 64));
  auto* const values = static_cast<float*>(host);
  values[0] = 7;
  expect(aclrtMemsetAsync(memory, 64, 0, 64, lab.stream));
  expect(aclrtMemcpyAsync(host, 64, memory, 64, kDeviceToHost, lab.stream));
  EXPECT_TRUE(std::isnan(values[0]));
  expect(aclrtSynchronizeStream(lab.stream));
  EXPECT_EQ(values[0], 0);
  expect(aclrtFreeHost(host));
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Runtime, AStagingBufferMayServeBothWaysOnOneStream) {
  Lab lab;
  void* const memory = lab.allocate(64);
  void* host = nullptr;
  expect(aclrtMallocHost(&host, 64));
  std::memset(host, 5, 64);
  expect(aclrtMemcpyAsync(memory, 64, host, 64, kHostToDevice, lab.stream));
  expect(aclrtMemcpyAsync(host, 64, memory, 64, kDeviceToHost, lab.stream));
  expect(aclrtSynchronizeStream(lab.stream));
  EXPECT_EQ(static_cast<char*>(host)[63], 5);
  expect(aclrtFreeHost(host));
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Runtime, WorkThatNobodyWaitsForStillRuns) {
  Lab lab;
  void* const memory = lab.allocate(64);
  aclrtEvent event = nullptr;
  expect(aclrtCreateEvent(&event));
  expect(aclrtMemsetAsync(memory, 64, 0, 64, lab.stream));
  expect(aclrtRecordEvent(event, lab.stream));
  expect(aclrtSynchronizeEvent(event));
  expect(aclrtDestroyEvent(event));
  EXPECT_EQ(lab.download(memory, 16, kFloat)[0], 0);
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Runtime, MemoryRunsOutWhereItWasTold) {
  Lab lab;
  ascend_sim_set_memory(1000);
  void* first = nullptr;
  void* second = nullptr;
  expect(aclrtMalloc(&first, 800, 0));
  EXPECT_EQ(aclrtMalloc(&second, 800, 0), kBadAlloc);
  EXPECT_NE(std::string(aclGetRecentErrMsg()).find("no 800 bytes left"), std::string::npos);
  EXPECT_EQ(aclGetRecentErrMsg(), nullptr);  // reading clears it
  size_t free = 0;
  size_t total = 0;
  expect(aclrtGetMemInfo(1, &free, &total));
  EXPECT_EQ(free, 200U);
  EXPECT_EQ(total, 1000U);
  expect(aclrtFree(first));
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Runtime, TheNthCallFailsOnDemandAndBreaksNoRule) {
  Lab lab;
  ascend_sim_fail("aclrtMalloc", 2, kBadAlloc);
  ascend_sim_fail("aclnnSiluGetWorkspaceSize", 1, kFindKernel);
  lab.allocate(64);
  void* memory = nullptr;
  EXPECT_EQ(aclrtMalloc(&memory, 64, 0), kBadAlloc);
  lab.allocate(64);
  Array x(lab, {8}, kFloat, noise(8, 1));
  Array y(lab, {8}, kFloat);
  EXPECT_EQ(ASCEND_SIM_RUN(lab, aclnnSilu, x.tensor, y.tensor), kFindKernel);
  const std::string before = ascend_sim_leaks();
  ascend_sim_fail("aclnnSilu", 1, kFailure);
  EXPECT_EQ(ASCEND_SIM_RUN(lab, aclnnSilu, x.tensor, y.tensor), kFailure);
  EXPECT_EQ(ascend_sim_leaks(), before);  // the executor went with its call
  expect(ASCEND_SIM_RUN(lab, aclnnSilu, x.tensor, y.tensor));
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Runtime, ALostDeviceFailsAllButWhatGivesBack) {
  Lab lab;
  Array x(lab, {8}, kFloat, noise(8, 1));
  Array y(lab, {8}, kFloat);
  ascend_sim_lose_device(2);
  expect(ASCEND_SIM_RUN(lab, aclnnSilu, x.tensor, y.tensor));
  EXPECT_EQ(ASCEND_SIM_RUN(lab, aclnnSilu, x.tensor, y.tensor), kRtDeviceLost);
  EXPECT_EQ(aclrtSynchronizeStream(lab.stream), kRtDeviceLost);
  EXPECT_EQ(ASCEND_SIM_RUN(lab, aclnnSilu, x.tensor, y.tensor), kRtDeviceLost);
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Runtime, TheSecondInitIsNoViolation) {
  Lab lab;
  EXPECT_EQ(aclInit(nullptr), kRepeatInitialize);
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Runtime, EachChipHasItsName) {
  for (const char* const name : {"Ascend910B4-1", "Ascend910_9391", "Ascend310P3"}) {
    Lab lab(name);
    EXPECT_STREQ(aclrtGetSocName(), name);
  }
}

TEST(Runtime, ThreadsShareTheContextOfTheirDevice) {
  Lab lab;
  void* const memory = lab.allocate(64);
  std::thread([&] {
    expect(aclrtSetDevice(0));
    expect(aclrtMemsetAsync(memory, 64, 0, 64, lab.stream));
    expect(aclrtSynchronizeStream(lab.stream));
    expect(aclrtResetDevice(0));
  }).join();
  EXPECT_EQ(joined(broken_rules()), "");
}

TEST(Runtime, LeaksAreListed) {
  Lab lab;
  const std::string before = ascend_sim_leaks();
  aclTensor* const tensor = tensor_at(lab.allocate(64), {8}, kFloat);
  EXPECT_NE(ascend_sim_leaks(), before);
  expect(aclDestroyTensor(tensor));
}

TEST(Runtime, TheReportIsWrittenWhenTheProcessEnds) {
  const std::string path = testing::TempDir() + "ascend_sim_report";
  std::remove(path.c_str());
  EXPECT_EXIT(
      {
        setenv("ASCEND_SIM_REPORT", path.c_str(), 1);
        char on_the_host = 0;
        aclrtFree(&on_the_host);
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  std::remove(path.c_str());
  EXPECT_NE(text.str().find("is not device memory"), std::string::npos) << text.str();
}

}  // namespace
}  // namespace ascend_sim
