#include "cuda/copy_threads.h"

#include <algorithm>
#include <cstring>
#include <system_error>

namespace moe::cuda {
namespace {

constexpr size_t kWorthHelp = size_t{1} << 20;
constexpr size_t kMostThreads = 4;  // from there on memory is the limit

}  // namespace

CopyThreads::~CopyThreads() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void CopyThreads::copy(void* to, const void* from, size_t bytes) {
  if (bytes >= kWorthHelp && !started_) start();
  if (bytes < kWorthHelp || helpers_.empty()) {
    std::memcpy(to, from, bytes);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    to_ = static_cast<uint8_t*>(to);
    from_ = static_cast<const uint8_t*>(from);
    bytes_ = bytes;
    working_ = helpers_.size();
    ++round_;
  }
  changed_.notify_all();
  copy_part(helpers_.size());
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return working_ == 0; });
}

void CopyThreads::start() {
  started_ = true;
  const size_t threads = std::min<size_t>(kMostThreads, usable_);
  try {
    while (helpers_.size() + 1 < threads) {
      helpers_.reserve(threads);
      helpers_.emplace_back([this, index = helpers_.size()] { help(index); });
    }
  } catch (const std::system_error&) {
    // The system has no more threads: fewer do the same work.
  }
}

void CopyThreads::help(size_t index) {
  std::unique_lock lock(mutex_);
  for (uint64_t seen = 0;;) {
    changed_.wait(lock, [&] { return ending_ || round_ != seen; });
    if (ending_) return;
    seen = round_;
    lock.unlock();
    copy_part(index);
    lock.lock();
    if (--working_ == 0) changed_.notify_all();
  }
}

// The array in equal parts, one for each helper and the last for the caller.
void CopyThreads::copy_part(size_t index) const {
  const size_t parts = helpers_.size() + 1, begin = bytes_ / parts * index;
  const size_t end = index + 1 == parts ? bytes_ : bytes_ / parts * (index + 1);
  std::memcpy(to_ + begin, from_ + begin, end - begin);
}

}  // namespace moe::cuda
