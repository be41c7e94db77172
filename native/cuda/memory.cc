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

}  // namespace moe::cuda
