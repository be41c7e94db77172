#include "cuda/runtime/stream.h"

#include <chrono>

#include "cuda/runtime/device.h"

namespace moe::emulator {
namespace {

// A device that nobody waits for starts late, so that a host which forgets to wait finds out.
constexpr std::chrono::milliseconds kLate{2};

}  // namespace

Stream::Stream() : thread_([this](const std::stop_token& stop) { work(stop); }) { Device::instance().add_stream(this); }

Stream::~Stream() {
  Device::instance().remove_stream(this);
  wait();
  thread_.request_stop();
}

void Stream::add(Operation operation) {
  if (captured) {
    captured->operations.push_back(std::move(operation));
    return;
  }
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(operation));
  changed_.notify_all();
}

void Stream::hurry() {
  const std::lock_guard lock(mutex_);
  hurried_ = true;
  changed_.notify_all();
}

void Stream::wait() {
  std::unique_lock lock(mutex_);
  hurried_ = true;
  changed_.notify_all();
  changed_.wait(lock, [&] { return queue_.empty() && !busy_; });
}

void Stream::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (!changed_.wait(lock, stop, [&] { return !queue_.empty(); })) return;
    if (!hurried_) changed_.wait_for(lock, kLate, [&] { return hurried_; });
    while (!queue_.empty()) {
      Operation operation = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
      lock.unlock();
      operation();
      operation = nullptr;
      lock.lock();
      busy_ = false;
    }
    hurried_ = false;
    changed_.notify_all();
  }
}

void Event::begin() {
  const std::lock_guard lock(mutex_);
  ++pending_;
}

void Event::finish() {
  const std::lock_guard lock(mutex_);
  --pending_;
  changed_.notify_all();
}

bool Event::done() {
  const std::lock_guard lock(mutex_);
  return pending_ == 0;
}

void Event::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return pending_ == 0; });
}

}  // namespace moe::emulator
