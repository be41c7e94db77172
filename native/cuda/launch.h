// The one seam between host code and kernels: nothing else of the project starts work on a device, and nothing here
// needs nvcc.
//
// A stand-in for the device (test/native/cuda) is linked instead of cudart and provides the C functions of
// cuda_runtime_api.h that this folder calls:
//   devices   cudaDriverGetVersion cudaRuntimeGetVersion cudaGetDeviceCount cudaGetDeviceProperties cudaSetDevice
//             cudaMemGetInfo cudaGetLastError cudaGetErrorName cudaGetErrorString
//   memory    cudaMalloc cudaFree cudaHostAlloc cudaFreeHost cudaMemcpyAsync
//   order     cudaStreamCreateWithFlags cudaStreamDestroy cudaStreamSynchronize cudaEventCreateWithFlags
//             cudaEventDestroy cudaEventRecord cudaEventSynchronize
//   kernels   cudaFuncGetAttributes cudaFuncSetAttribute cudaLaunchKernel
//   graphs    cudaStreamBeginCapture cudaStreamEndCapture cudaGraphInstantiate cudaGraphLaunch cudaGraphDestroy
//             cudaGraphExecDestroy
// A kernel reaches it as the address of its host stub. `kernels/list.h` names every kernel with its task: a stand-in
// defines a function `extern "C" void NAME(TASK)` for each, and maps its address to the entry NAME in the PTX of
// kernels/*.cu. Every kernel takes one argument, its task by value, so `args[0]` points to the bytes of that struct and
// the PTX has the one parameter NAME_param_0.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda/kernels/list.h"
#include "cuda/kernels/tasks.h"

namespace moe::cuda {

// A __global__ function: its name in PTX, and the stub that nvcc makes for the host.
struct KernelEntry {
  const char* name;
  const void* stub;
};

// A kernel that takes a Task.
template <class Task>
struct Kernel {
  KernelEntry entry;
};

struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;  // dynamic
};

// Tells how many blocks of so many items there are.
inline unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

}  // namespace moe::cuda

#define MOE_CUDA_DECLARE(name, Task) extern "C" void name(moe::cuda::Task); /* nvcc's stub of the kernel */
MOE_CUDA_KERNELS(MOE_CUDA_DECLARE)
#undef MOE_CUDA_DECLARE

namespace moe::cuda::kernels {

#define MOE_CUDA_KERNEL(name, Task) inline const Kernel<Task> name{{#name, reinterpret_cast<const void*>(&::name)}};
MOE_CUDA_KERNELS(MOE_CUDA_KERNEL)
#undef MOE_CUDA_KERNEL

// All of them stand here, for what is asked of each: attributes, shared memory.
inline const KernelEntry kAll[] = {
#define MOE_CUDA_ENTRY(name, Task) name.entry,
    MOE_CUDA_KERNELS(MOE_CUDA_ENTRY)
#undef MOE_CUDA_ENTRY
};

}  // namespace moe::cuda::kernels
