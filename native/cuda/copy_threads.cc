#include "cuda/copy_threads.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace moe::cuda {
namespace {

constexpr size_t kWorthHelp = size_t{1} << 20;
constexpr int64_t kPiece = int64_t{1} << 18;
constexpr int kMostThreads = 4;  // from there on memory is the limit

}  // namespace

void CopyThreads::copy(void* to, const void* from, size_t bytes) {
  if (bytes >= kWorthHelp && !pool_) start();
  const auto part = [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<std::byte*>(to) + begin, static_cast<const std::byte*>(from) + begin, end - begin);
  };
  if (bytes < kWorthHelp)
    part(0, static_cast<int64_t>(bytes));
  else
    pool_->team().parallel_for(static_cast<int64_t>(bytes), kPiece, part);
}

void CopyThreads::start() {
  try {
    pool_ = std::make_unique<ThreadPool>(std::min(kMostThreads, usable_));
  } catch (const Error&) {
    pool_ = std::make_unique<ThreadPool>(1);  // The system has no more threads: the calling one does all the work.
  }
}

}  // namespace moe::cuda
