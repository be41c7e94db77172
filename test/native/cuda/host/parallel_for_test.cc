#include "cuda/parallel_for.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace moe::cuda {
namespace {

TEST(ParallelFor, CallsEveryIndexOnce) {
  for (const int threads : {1, 4})
    for (const int64_t count : {0, 1, 1000}) {
      std::vector<std::atomic<int>> calls(count);
      parallel_for(threads, count, [&](int64_t i) { ++calls[i]; });
      for (const auto& each : calls) EXPECT_EQ(each.load(), 1);
    }
}

TEST(ParallelFor, RethrowsTheFirstExceptionAndStopsEarly) {
  std::atomic<int64_t> calls{0};
  EXPECT_THROW(parallel_for(4, 1'000'000,
                            [&](int64_t) {
                              ++calls;
                              throw std::runtime_error("no");
                            }),
               std::runtime_error);
  EXPECT_LT(calls.load(), 1'000'000);
}

TEST(ParallelFor, TakesNoMoreThreadsThanItIsGiven) {
  EXPECT_EQ(packing_threads(1), 1);
  EXPECT_GE(packing_threads(0), 1);
}

}  // namespace
}  // namespace moe::cuda
