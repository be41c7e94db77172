// Threads that share loops with their caller.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#include "core/host/executor.h"

namespace moe {

// One thread drives it. Workers spin for some microseconds after a loop, then sleep. A worker joins a loop when it gets
// to run; the caller never waits for one that has not joined, so a busy machine delays nobody. A loop allocates
// nothing.
class ThreadPool {
 public:
  // `threads` counts the caller. Throws kDevice when the system refuses a thread.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // A number of the pool's threads, the caller among them.
  class Team final : public Executor {
   public:
    Team(ThreadPool& pool, int threads) : pool_(pool), threads_(threads) {}
    int threads() const { return threads_; }

    // Does as Executor says. Pieces are handed out in order, and get smaller towards the end.
    void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body) override {
      pool_.run(threads_, count, grain, body);
    }

   private:
    ThreadPool& pool_;
    int threads_;
  };
  // A team has at most all of them; threads <= 0 asks for all.
  Team team(int threads = 0);

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Who is running inside a loop: 0 is the caller, workers count from 1, always below the team's threads().
  static int worker();

 private:
  using Body = FunctionRef<void(int64_t, int64_t)>;

  ThreadPool() = default;
  void run(int threads, int64_t count, int64_t grain, Body body);
  void work();
  void serve(int worker);
  void start(int threads);

  std::vector<std::thread> workers_;

  // The caller writes the loop while nobody is in it.
  const Body* body_ = nullptr;
  int64_t count_ = 0;
  int64_t grain_ = 1;
  int threads_of_loop_ = 1;
  std::exception_ptr failure_;

  alignas(64) std::atomic<int64_t> next_{0};    // the first index nobody has taken
  alignas(64) std::atomic<uint64_t> state_{0};  // who may join and who is in: see thread_pool.cc
  std::atomic<bool> failed_{false};
  alignas(64) std::atomic<uint32_t> started_{0};  // counts loops; workers sleep on it
  alignas(64) std::atomic<uint32_t> left_{0};     // counts last workers leaving; the caller sleeps on it
  std::atomic<bool> stop_{false};
};

}  // namespace moe
