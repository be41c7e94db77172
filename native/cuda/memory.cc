#include "cuda/memory.h"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "cuda/check.h"

namespace moe::cuda {

void* allocate_device(size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, std::max<size_t>(bytes, 1)), "cudaMalloc");
  return memory;
}

void free_device(void* memory) noexcept {
  if (memory && cudaFree(memory) != cudaSuccess) cudaGetLastError();  // a lost device frees nothing
}

void* QueuedMemory::allocate(size_t bytes) {
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  return allocate_device(bytes);
}

void QueuedMemory::deallocate(void* memory) noexcept {
  try {
    queue_.start(false);
  } catch (...) {
    failure_ = std::current_exception();
  }
  free_device(memory);
}

}  // namespace moe::cuda
