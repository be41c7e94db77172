// Memory of the device, owned.
#pragma once
#include <cstddef>
#include <utility>

namespace moe::cuda {

// cudaMalloc and cudaFree. Throws kOutOfMemory. At least one byte is allocated, at a multiple of 256.
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

// Grows to the largest request seen, so a steady state allocates nothing.
class Scratch {
 public:
  // At least `count` elements of uninitialised memory, valid until a larger request. `before_freeing` is called if old
  // memory must go: work that uses it may be waiting to start.
  template <class T, class BeforeFreeing>
  T* reserve(size_t count, const BeforeFreeing& before_freeing) {
    if (count * sizeof(T) > memory_.bytes() || !memory_.template as<T>()) {
      before_freeing();
      memory_ = DeviceMemory();  // free first: both may not fit
      memory_ = DeviceMemory(count * sizeof(T));
    }
    return memory_.template as<T>();
  }

 private:
  DeviceMemory memory_;
};

}  // namespace moe::cuda
