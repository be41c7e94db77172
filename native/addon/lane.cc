#include "addon/lane.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "core/host/start_thread.h"

namespace moe {
namespace {

// A call that follows another within this time finds the lane awake: cheaper than a wake-up by the kernel.
constexpr auto kSpin = std::chrono::microseconds(50);

}  // namespace

Lane::Lane() : thread_(start_thread("the device's thread", [this] { loop(); })) {}

Lane::~Lane() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  ready_.notify_one();
  thread_.join();
}

void Lane::submit(Job& job, size_t max_waiting) {
  {
    const std::lock_guard lock(mutex_);
    const size_t waiting = jobs_.size() - (idle_ && !jobs_.empty() ? 1 : 0);
    if (waiting >= max_waiting)
      throw Error(ErrorCode::kQueueFull, "Expected at most " + std::to_string(max_waiting) +
                                             " calls to wait on the device (`maxQueue`), and they all wait");
    jobs_.push_back(&job);
    waiting_.store(jobs_.size(), std::memory_order_release);
  }
  ready_.notify_one();
}

bool Lane::withdraw(Job& job, ErrorCode reason) {
  {
    const std::lock_guard lock(mutex_);
    const auto place = std::find(jobs_.begin(), jobs_.end(), &job);
    if (place == jobs_.end()) return false;
    jobs_.erase(place);
    waiting_.store(jobs_.size(), std::memory_order_release);
  }
  job.withdraw(reason);
  return true;
}

Job* Lane::next() {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  while (waiting_.load(std::memory_order_acquire) == 0 && std::chrono::steady_clock::now() < deadline) {
  }
  std::unique_lock lock(mutex_);
  ready_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
  if (jobs_.empty()) return nullptr;
  Job* const job = jobs_.front();
  jobs_.pop_front();
  idle_ = false;
  waiting_.store(jobs_.size(), std::memory_order_release);
  return job;
}

void Lane::loop() {
  while (Job* const job = next()) {
    job->run();
    {
      const std::lock_guard lock(mutex_);
      idle_ = true;
    }
    job->ended();
  }
}

}  // namespace moe
