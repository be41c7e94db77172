#include "cuda/launch.h"

#include "cuda/check.h"

namespace moe::cuda {

void launch(const KernelEntry& kernel, const LaunchShape& shape, const void* task, cudaStream_t stream) {
  void* args[] = {const_cast<void*>(task)};
  check(cudaLaunchKernel(kernel.stub, shape.grid, shape.block, args, shape.shared_bytes, stream), kernel.name);
}

}  // namespace moe::cuda
