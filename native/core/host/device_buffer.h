// Device memory that grows to the largest request seen and never shrinks, so a steady state allocates nothing.
#pragma once
#include "core/device.h"

namespace moe {

class DeviceBuffer {
 public:
  explicit DeviceBuffer(Device& device) : device_(device) {}
  ~DeviceBuffer() { release(); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  // At least `count` elements of uninitialised memory, valid until the next call.
  template <class T>
  T* reserve(size_t count) {
    if (const size_t bytes = count * sizeof(T); bytes > bytes_) {
      release();
      memory_ = device_.allocate(bytes);
      bytes_ = bytes;
    }
    return static_cast<T*>(memory_);
  }

 private:
  void release() {
    if (memory_) device_.deallocate(memory_);
    memory_ = nullptr;
    bytes_ = 0;
  }

  Device& device_;
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace moe
