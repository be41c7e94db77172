#include "core/host/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <vector>

namespace moe {
namespace {

TEST(ThreadPool, CoversEveryIndexOnce) {
  ThreadPool pool(4);
  for (const int threads : {1, 2, 4}) {
    ThreadPool::Team team = pool.team(threads);
    for (const int64_t count : {0, 1, 2, 3, 100, 4097})
      for (const int64_t grain : {1, 3, 64, 10000}) {
        std::vector<std::atomic<int>> visits(count);
        team.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
          EXPECT_TRUE(end - begin >= grain || end == count);
          for (int64_t i = begin; i < end; ++i) visits[i].fetch_add(1, std::memory_order_relaxed);
        });
        for (const auto& visit : visits) ASSERT_EQ(visit.load(), 1);
      }
  }
}

TEST(ThreadPool, SeesWhatTheLoopBeforeWrote) {
  ThreadPool pool(3);
  ThreadPool::Team team = pool.team();
  std::vector<int64_t> from(1000, 0), to(1000, 0);
  for (int64_t round = 1; round <= 2000; ++round) {
    // The mirrored element was most likely written by another thread.
    team.parallel_for(1000, 7, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = from[999 - i] + 1;
    });
    from.swap(to);
    ASSERT_EQ(from, std::vector<int64_t>(1000, round));
  }
}

TEST(ThreadPool, NamesItsWorkersBelowTheTeamsThreads) {
  ThreadPool pool(6);
  ThreadPool::Team team = pool.team(100);
  EXPECT_EQ(pool.threads(), 6);
  EXPECT_EQ(team.threads(), 6);
  EXPECT_EQ(ThreadPool::worker(), 0);
  std::vector<std::atomic<int>> inside(6);
  team.parallel_for(5000, 1, [&](int64_t, int64_t) {
    const int worker = ThreadPool::worker();
    ASSERT_LT(worker, 6);
    EXPECT_EQ(inside[worker].fetch_add(1), 0) << "two threads share a number";
    inside[worker].fetch_sub(1);
  });
}

TEST(ThreadPool, KeepsALimitedTeamToItsThreads) {
  ThreadPool pool(5);
  ThreadPool::Team team = pool.team(2);
  for (int round = 0; round < 200; ++round)
    team.parallel_for(64, 1, [&](int64_t, int64_t) { EXPECT_LT(ThreadPool::worker(), 2); });
}

TEST(ThreadPool, RethrowsAndWorksOn) {
  ThreadPool pool(3);
  ThreadPool::Team team = pool.team();
  for (int round = 0; round < 300; ++round) {
    EXPECT_THROW(team.parallel_for(1000, 1,
                                   [&](int64_t begin, int64_t) {
                                     if (begin >= 500) throw std::out_of_range("half way");
                                   }),
                 std::out_of_range);
    std::atomic<int64_t> sum{0};
    team.parallel_for(100, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
    EXPECT_EQ(sum.load(), 100);
  }
}

TEST(ThreadPool, WakesWorkersThatWentToSleep) {
  ThreadPool pool(2);
  ThreadPool::Team team = pool.team();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::atomic<bool> helped{false};
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  // The caller's piece ends only when a worker has taken one.
  team.parallel_for(2, 1, [&](int64_t, int64_t) {
    if (ThreadPool::worker() > 0) helped = true;
    while (!helped && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  });
  EXPECT_TRUE(helped);
}

TEST(ThreadPool, EndsWhileItsWorkersSpinOrSleep) {
  for (int round = 0; round < 200; ++round) {
    ThreadPool pool(3);
    if (round % 2 == 0) pool.team().parallel_for(10, 1, [](int64_t, int64_t) {});
    if (round % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace
}  // namespace moe
