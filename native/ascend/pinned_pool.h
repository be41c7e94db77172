// Host memory that asynchronous copies may use, given out until the stream has passed them all.
#pragma once
#include <cstddef>
#include <vector>

#include "ascend/npu.h"

namespace moe::ascend {

class PinnedPool {
 public:
  explicit PinnedPool(Npu& device) : device_(device) {}
  ~PinnedPool() { release(); }
  PinnedPool(const PinnedPool&) = delete;
  PinnedPool& operator=(const PinnedPool&) = delete;

  // Uninitialised, 64-byte aligned, valid until `reset`. Throws kOutOfMemory.
  void* take(size_t bytes);
  template <class T>
  T* take_as(size_t count) {
    return static_cast<T*>(take(count * sizeof(T)));
  }
  // All that was given out is free again. What took several blocks will stand in one: a steady state allocates nothing.
  void reset();
  // Waits for copies that may still use the memory.
  void release() noexcept;

 private:
  struct Block {
    std::byte* memory;
    size_t bytes, used;
  };

  Npu& device_;
  std::vector<Block> blocks_;
  size_t next_bytes_ = 0;  // at least this much in the next block
};

}  // namespace moe::ascend
