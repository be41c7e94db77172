// Memory of the device, owned.
#pragma once
#include <cstddef>
#include <exception>
#include <utility>

#include "core/host/growing_buffer.h"
#include "cuda/launch_queue.h"

namespace moe::cuda {

// They call cudaMalloc and cudaFree. The first throws kOutOfMemory. At least one byte is allocated, at a multiple of
// 256.
void* allocate_device(size_t bytes);
void free_device(void* memory) noexcept;

class DeviceMemory {
 public:
  DeviceMemory() = default;
  explicit DeviceMemory(size_t bytes) : data_(allocate_device(bytes)), bytes_(bytes) {}
  ~DeviceMemory() { free_device(data_); }
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Memory that work in the queue may use: before it goes, that work is started.
class QueuedMemory {
 public:
  explicit QueuedMemory(LaunchQueue& queue) : queue_(queue) {}

  // Throws what starting that work threw, too.
  void* allocate(size_t bytes);
  void deallocate(void* memory) noexcept;

 private:
  LaunchQueue& queue_;
  std::exception_ptr failure_;
};

using Scratch = GrowingBuffer<QueuedMemory>;

}  // namespace moe::cuda
