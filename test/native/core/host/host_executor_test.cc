#include "core/host/host_executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace moe {
namespace {

TEST(HostExecutor, CoversEverythingOnce) {
  for (const int threads : {0, 1, 3})
    for (const int64_t count : {0, 1, 7, 100}) {
      std::vector<std::atomic<int>> visits(count);
      HostExecutor(threads).parallel_for(count, 3, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++visits[i];
      });
      for (const auto& visit : visits) EXPECT_EQ(visit, 1);
    }
}

TEST(HostExecutor, RethrowsWhatABodyThrows) {
  for (const int threads : {1, 4})
    EXPECT_THROW(HostExecutor(threads).parallel_for(50, 1,
                                                    [](int64_t begin, int64_t) {
                                                      if (begin == 20 || begin == 0) throw std::runtime_error("20");
                                                    }),
                 std::runtime_error);
}

}  // namespace
}  // namespace moe
