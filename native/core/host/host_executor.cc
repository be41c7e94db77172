#include "core/host/host_executor.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace moe {

HostExecutor::HostExecutor(int threads, int usable) : threads_(threads > 0 ? std::min(threads, usable) : usable) {}

void HostExecutor::parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body) {
  if (count <= 0) return;
  const int64_t pieces = (count + grain - 1) / grain;
  if (threads_ == 1 || pieces == 1) return body(0, count);

  std::atomic<int64_t> next{0};
  std::exception_ptr failure;
  std::mutex mutex;
  const auto work = [&] {
    try {
      for (int64_t piece = next++; piece < pieces; piece = next++)
        body(piece * grain, std::min(count, (piece + 1) * grain));
    } catch (...) {
      next = pieces;
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> helpers;
    try {
      for (int64_t i = 1; i < std::min<int64_t>(threads_, pieces); ++i) helpers.emplace_back(work);
    } catch (const std::system_error&) {
      // There are no more threads to be had: those that started, and this one, do it all.
    }
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace moe
