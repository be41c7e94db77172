// Copying large arrays by several threads: one alone is slower than the bus to the device.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "core/host/usable_cpus.h"

namespace moe::cuda {

// Helpers start with the first copy that is worth it and sleep between copies.
class CopyThreads {
 public:
  // No more threads than the process may use, the calling one among them.
  explicit CopyThreads(int usable = usable_cpus_at_start()) : usable_(usable) {}
  ~CopyThreads();
  CopyThreads(const CopyThreads&) = delete;
  CopyThreads& operator=(const CopyThreads&) = delete;

  // memcpy. One call at a time.
  void copy(void* to, const void* from, size_t bytes);
  size_t helpers() const { return helpers_.size(); }

 private:
  void start();
  void help(size_t index);
  void copy_part(size_t index) const;

  const int usable_;
  std::vector<std::thread> helpers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint8_t* to_ = nullptr;
  const uint8_t* from_ = nullptr;
  size_t bytes_ = 0;
  uint64_t round_ = 0;  // copies begun
  size_t working_ = 0;  // helpers that have not ended this round
  bool ending_ = false;
  bool started_ = false;
};

}  // namespace moe::cuda
