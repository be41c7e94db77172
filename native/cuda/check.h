// Failed CUDA calls as errors a caller can act on. Every runtime call passes through here.
#pragma once
#include <cuda_runtime_api.h>

#include <string>

#include "core/error.h"

namespace moe::cuda {

// Throws unless the call succeeded: kOutOfMemory; kDeviceLost where the context is gone, which only a new process
// repairs; kDevice otherwise. `what` names the call, or the kernel.
void check(cudaError_t status, const char* what);

// True where every later call of the process will fail, too.
bool is_sticky(cudaError_t status);

}  // namespace moe::cuda
