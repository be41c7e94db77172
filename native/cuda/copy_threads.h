// Copying large arrays by several threads: one alone is slower than the bus to the device.
#pragma once
#include <cstddef>
#include <memory>

#include "core/host/thread_pool.h"
#include "core/host/usable_cpus.h"

namespace moe::cuda {

// Helpers start with the first copy that is worth it.
class CopyThreads {
 public:
  // Takes no more threads than the process may use, the calling one among them.
  explicit CopyThreads(int usable = usable_cpus_at_start()) : usable_(usable) {}

  // Does what memcpy does. One thread calls it at a time.
  void copy(void* to, const void* from, size_t bytes);
  int helpers() const { return pool_ ? pool_->threads() - 1 : 0; }

 private:
  void start();

  const int usable_;
  std::unique_ptr<ThreadPool> pool_;
};

}  // namespace moe::cuda
