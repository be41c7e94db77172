#include "cuda/parallel_for.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace moe::cuda {

int packing_threads(int32_t limit) {
  const int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return limit > 0 ? std::min<int>(limit, processors) : processors;
}

void parallel_for(int threads, int64_t count, FunctionRef<void(int64_t)> body) {
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      for (int64_t i = next++; i < count; i = next++) body(i);
    } catch (...) {
      next = count;
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> helpers;
    try {
      while (static_cast<int64_t>(helpers.size()) + 1 < std::min<int64_t>(threads, count)) helpers.emplace_back(work);
    } catch (const std::system_error&) {
      // The system has no more threads: fewer do the same work.
    }
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace moe::cuda
