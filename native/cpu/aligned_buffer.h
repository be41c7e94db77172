// Memory for vector loads and for weights: aligned to a cache line, in huge pages where there is enough of it.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>

namespace moe::cpu {

// Uninitialised, freed with std::free. Throws kOutOfMemory, saying how much was asked for.
void* allocate_aligned(size_t bytes);

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // As allocate_aligned.
  explicit AlignedBuffer(size_t bytes) : memory_(static_cast<std::byte*>(allocate_aligned(bytes))), bytes_(bytes) {}

  // Makes room for at least `bytes`; what it held is lost when it has to grow.
  void* reserve(size_t bytes);
  template <class T>
  T* reserve_as(size_t count) {
    return static_cast<T*>(reserve(count * sizeof(T)));
  }

  std::byte* data() const { return memory_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  size_t bytes_ = 0;
};

}  // namespace moe::cpu
