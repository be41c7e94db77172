#include "core/host/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "core/host/start_thread.h"

namespace moe {
namespace {

// state_ holds how many workers may join the loop (upper half; 0: it is closed) and how many are in it (lower half).
constexpr uint64_t members_of(uint64_t state) { return state & 0xffffffff; }
constexpr uint64_t seats_of(uint64_t state) { return state >> 32; }

// It bridges the gap between the stages of a forward, and is short enough to burn nothing between calls.
constexpr std::chrono::microseconds kSpin{50};
constexpr int kLooksPerClock = 64;

thread_local int current_worker = 0;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns true as soon as `ready` is, false after a while of looking.
template <class Condition>
bool spin_until(Condition ready) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int look = 0; look < kLooksPerClock; ++look) {
      if (ready()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

// Delegation completes the object first, so the workers are joined even when a later one cannot start.
ThreadPool::ThreadPool(int threads) : ThreadPool() { start(threads); }

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  started_.fetch_add(1, std::memory_order_release);
  started_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

int ThreadPool::worker() { return current_worker; }

ThreadPool::Team ThreadPool::team(int threads) {
  return Team(*this, threads <= 0 ? this->threads() : std::min(threads, this->threads()));
}

void ThreadPool::start(int threads) {
  workers_.reserve(std::max(threads - 1, 0));
  while (this->threads() < threads) {
    const std::string name = "thread " + std::to_string(this->threads()) + " of " + std::to_string(threads);
    workers_.push_back(start_thread(name, [this, worker = this->threads()] { serve(worker); }));
  }
}

void ThreadPool::run(int threads, int64_t count, int64_t grain, Body body) {
  if (count <= 0) return;
  if (threads == 1 || count <= grain) return body(0, count);

  body_ = &body;
  count_ = count;
  grain_ = std::max<int64_t>(grain, 1);
  threads_of_loop_ = threads;
  failed_.store(false, std::memory_order_relaxed);
  next_.store(0, std::memory_order_relaxed);
  state_.store(static_cast<uint64_t>(threads) << 32, std::memory_order_release);
  started_.fetch_add(1, std::memory_order_release);
  started_.notify_all();

  work();

  // Nobody joins any more; wait for those who did.
  state_.fetch_and(0xffffffff, std::memory_order_acq_rel);
  const auto all_left = [&] { return members_of(state_.load(std::memory_order_acquire)) == 0; };
  while (!spin_until(all_left)) {
    const uint32_t left = left_.load(std::memory_order_acquire);
    if (all_left()) break;
    left_.wait(left, std::memory_order_acquire);
  }
  if (failed_.load(std::memory_order_relaxed)) std::rethrow_exception(std::exchange(failure_, nullptr));
}

// Takes pieces until none is left.
void ThreadPool::work() {
  const int64_t share = int64_t{8} * threads_of_loop_;
  int64_t begin = next_.load(std::memory_order_relaxed);
  try {
    while (begin < count_) {
      const int64_t size = std::max(grain_, (count_ - begin) / share);
      const int64_t end = std::min(begin + size, count_);
      if (!next_.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      (*body_)(begin, end);
      begin = next_.load(std::memory_order_relaxed);
    }
  } catch (...) {
    next_.store(count_, std::memory_order_relaxed);
    if (!failed_.exchange(true, std::memory_order_relaxed)) failure_ = std::current_exception();
  }
}

void ThreadPool::serve(int worker) {
  current_worker = worker;
  uint32_t seen = 0;
  while (true) {
    if (!spin_until([&] { return started_.load(std::memory_order_acquire) != seen; }))
      started_.wait(seen, std::memory_order_acquire);
    seen = started_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;

    uint64_t state = state_.load(std::memory_order_relaxed);
    bool joined = false;
    while (!joined && static_cast<uint64_t>(worker) < seats_of(state))
      joined = state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed);
    if (!joined) continue;
    work();
    const uint64_t before = state_.fetch_sub(1, std::memory_order_acq_rel);
    if (members_of(before) == 1 && seats_of(before) == 0) {
      left_.fetch_add(1, std::memory_order_release);
      left_.notify_one();
    }
  }
}

}  // namespace moe
