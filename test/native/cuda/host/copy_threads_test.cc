#include "cuda/copy_threads.h"

#include <gtest/gtest.h>

#include <vector>

namespace moe::cuda {
namespace {

TEST(CopyThreads, CopyEveryByteOfAnySize) {
  CopyThreads threads;
  for (const size_t bytes :
       {size_t{0}, size_t{1}, size_t{1000}, (size_t{1} << 20) - 1, size_t{1} << 20, (size_t{5} << 20) + 7}) {
    std::vector<uint8_t> from(bytes), to(bytes + 1, 0xee);
    for (size_t i = 0; i < bytes; ++i) from[i] = static_cast<uint8_t>(i * 31 + i / 251);
    threads.copy(to.data(), from.data(), bytes);
    EXPECT_EQ(to.back(), 0xee);
    to.pop_back();
    EXPECT_EQ(to, from) << bytes << " bytes";
  }
}

TEST(CopyThreads, AreNoMoreThanTheProcessMayUse) {
  const std::vector<uint8_t> from(4 << 20, 7);
  std::vector<uint8_t> to(from.size());
  for (const int usable : {1, 2, 64}) {
    CopyThreads threads(usable);
    threads.copy(to.data(), from.data(), from.size());
    EXPECT_EQ(threads.helpers(), usable == 64 ? 3 : usable - 1);
  }
}

TEST(CopyThreads, CopyAgainAndAgain) {
  CopyThreads threads;
  std::vector<uint32_t> from(1 << 19), to(1 << 19);
  for (uint32_t round = 0; round < 50; ++round) {
    for (size_t i = 0; i < from.size(); i += 1000) from[i] = round;
    from.back() = round;
    threads.copy(to.data(), from.data(), from.size() * sizeof from[0]);
    ASSERT_EQ(to, from);
  }
}

}  // namespace
}  // namespace moe::cuda
