#include "cuda/check.h"

namespace moe::cuda {
namespace {

// True where every later call of the process will fail, too.
bool is_sticky(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorExternalDevice:
      return true;
    default:
      return false;
  }
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next call would report it again
  const std::string message =
      std::string(cudaGetErrorName(status)) + ": " + cudaGetErrorString(status) + ", in " + what;
  if (status == cudaErrorMemoryAllocation)
    throw Error(ErrorCode::kOutOfMemory, "The CUDA device is out of memory (" + message + ")");
  if (is_sticky(status))
    throw Error(ErrorCode::kDeviceLost,
                "The CUDA device failed and is lost to this process: start a new one (" + message + ")");
  throw Error(ErrorCode::kDevice, "The CUDA device refused a call (" + message + ")");
}

}  // namespace moe::cuda
