#include "ascend/transfer.h"

#include <gtest/gtest.h>

#include <numeric>

#include "ascend/backend/simulator.h"
#include "core/error.h"

namespace moe::ascend {
namespace {

class HostLinkTest : public testing::Test {
 protected:
  Npu device_{cann_library(), 0};
  HostLink link_{device_};
};

TEST_F(HostLinkTest, BringsBackWhatWasSent) {
  std::vector<float> sent((3 << 18) + 5), got(sent.size());  // more than one piece
  std::iota(sent.begin(), sent.end(), 1.0f);
  DeviceScratch memory(device_);
  float* const there = memory.reserve<float>(sent.size());
  link_.upload(there, sent.data(), sent.size() * sizeof(float));
  const std::vector<float> expected = sent;
  std::fill(sent.begin(), sent.end(), 0.0f);  // it has been read
  link_.download(got.data(), there, got.size() * sizeof(float));
  EXPECT_EQ(got[0], 0);  // not before `finish`
  link_.finish();
  EXPECT_EQ(got, expected);
}

TEST_F(HostLinkTest, WritesNothingForACallThatFailed) {
  std::vector<float> target(8, 1.0f);
  DeviceScratch memory(device_);
  float* const there = memory.reserve<float>(target.size());
  device_.clear(there, 32);
  link_.download(target.data(), there, 32);
  test::simulator::fail("aclrtMemcpyAsync", 1, 500003);
  EXPECT_THROW(link_.download(target.data(), there, 32), Error);
  link_.finish();
  EXPECT_EQ(target, std::vector<float>(8, 1.0f));
}

TEST_F(HostLinkTest, PinnedMemoryIsAllocatedOnceInTheSteadyState) {
  PinnedPool pool(device_);
  for (int call = 0; call < 3; ++call) {
    if (call == 2) test::simulator::fail("aclrtMallocHost", 1, 200000);
    for (int piece = 0; piece < 5; ++piece) EXPECT_NE(pool.take(100'000), nullptr);
    device_.wait();
    pool.reset();
  }
  test::simulator::reset();
}

}  // namespace
}  // namespace moe::ascend
