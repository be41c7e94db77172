// Memory that grows to the largest request seen and never shrinks, so a steady state allocates nothing.
#pragma once
#include <algorithm>
#include <cstddef>
#include <utility>

namespace moe {

// `Memory` has allocate(bytes) and deallocate(memory) noexcept, and outlives the buffer.
template <class Memory>
class GrowingBuffer {
 public:
  explicit GrowingBuffer(Memory& memory) : from_(memory) {}
  ~GrowingBuffer() { release(); }
  GrowingBuffer(const GrowingBuffer&) = delete;
  GrowingBuffer& operator=(const GrowingBuffer&) = delete;

  // At least `count` elements of uninitialised memory, never null, valid until the next call.
  template <class T>
  T* reserve(size_t count) {
    return static_cast<T*>(reserve_bytes(count * sizeof(T)));
  }
  void* reserve_bytes(size_t bytes) {
    if (bytes > bytes_ || !memory_) {
      release();  // first: both together might not fit
      memory_ = from_.allocate(std::max<size_t>(bytes, 1));
      bytes_ = bytes;
    }
    return memory_;
  }
  void* data() const { return memory_; }
  size_t bytes() const { return bytes_; }
  void release() noexcept {
    bytes_ = 0;
    if (void* const memory = std::exchange(memory_, nullptr)) from_.deallocate(memory);
  }

 private:
  Memory& from_;
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace moe
