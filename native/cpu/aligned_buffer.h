// Memory for vector loads and for weights: aligned to a cache line, in huge pages where there is enough of it.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>

#include "core/host/growing_buffer.h"

namespace moe::cpu {

struct AlignedMemory {
  // Uninitialised. Throws kOutOfMemory, saying how much was asked for.
  static void* allocate(size_t bytes);
  static void deallocate(void* memory) noexcept { std::free(memory); }
};
inline AlignedMemory aligned_memory;

using Scratch = GrowingBuffer<AlignedMemory>;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // As AlignedMemory::allocate.
  explicit AlignedBuffer(size_t bytes)
      : memory_(static_cast<std::byte*>(AlignedMemory::allocate(bytes))), bytes_(bytes) {}

  std::byte* data() const { return memory_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { AlignedMemory::deallocate(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  size_t bytes_ = 0;
};

}  // namespace moe::cpu
