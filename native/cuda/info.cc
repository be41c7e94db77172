#include "cuda/info.h"

#include <cuda_runtime_api.h>

#include "core/error.h"
#include "cuda/check.h"
#include "cuda/device.h"
#include "cuda/kernel_shapes.h"
#include "cuda/launch.h"

// It is 1 in the build that runs on a stand-in for the device.
#ifndef MOE_CUDA_EMULATED
#define MOE_CUDA_EMULATED 0
#endif

namespace moe::cuda {
namespace {

// The multiplications of bfloat16 and the asynchronous copies came with it.
constexpr int kOldestMajor = 8;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string capability_text(const cudaDeviceProp& properties) {
  return std::to_string(properties.major) + "." + std::to_string(properties.minor);
}

std::string reason_for(cudaError_t status) {
  int runtime = 0, driver = 0;
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  cudaGetLastError();
  switch (status) {
    case cudaErrorNoDevice:
      return "there is no CUDA device, or CUDA_VISIBLE_DEVICES hides it";
    case cudaErrorInsufficientDriver:
    case cudaErrorCompatNotSupportedOnDevice:
      return "the NVIDIA driver is for CUDA " + version_text(driver) + ", older than this build's CUDA " +
             version_text(runtime) + ": update the driver";
    case cudaErrorStubLibrary:
      return "libcuda.so is a stub for building, not a driver";
    case cudaErrorSystemDriverMismatch:
      return "the NVIDIA kernel module and libcuda.so are of different versions: reboot, or install one version";
    case cudaErrorSystemNotReady:
      return "the NVIDIA system services, such as the fabric manager, are not running";
    case cudaErrorDevicesUnavailable:
      return "every CUDA device is in exclusive use by another process";
    default:
      return std::string("the CUDA driver answers ") + cudaGetErrorName(status) + ": " + cudaGetErrorString(status);
  }
}

bool is_new_enough(const cudaDeviceProp& properties) { return properties.major >= kOldestMajor; }

cudaDeviceProp properties_of(int index) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  return properties;
}

[[noreturn]] void fail(int index, const std::string& reason) {
  throw Error(ErrorCode::kDeviceUnavailable, "Device `cuda:" + std::to_string(index) + "` cannot be used: " + reason);
}

}  // namespace

std::string why_unavailable() {
  int driver = 0, count = 0;
  if (const cudaError_t status = cudaDriverGetVersion(&driver); status != cudaSuccess) return reason_for(status);
  if (driver == 0) return "there is no NVIDIA driver: libcuda.so.1 was not found";
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess) return reason_for(status);
  if (count == 0) return reason_for(cudaErrorNoDevice);
  std::string newest;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    if (const cudaError_t status = cudaGetDeviceProperties(&properties, index); status != cudaSuccess)
      return reason_for(status);
    if (is_new_enough(properties)) return "";
    newest = std::string(properties.name) + " has compute capability " + capability_text(properties);
  }
  return newest + ": the kernels need 8.0 (Ampere) or later";
}

std::vector<DeviceInfo> devices() {
  int count = 0;
  check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  std::vector<DeviceInfo> all;
  for (int index = 0; index < count; ++index) {
    const cudaDeviceProp properties = properties_of(index);
    const std::string capability = "compute capability " + capability_text(properties);
    all.push_back({index, properties.name,
                   is_new_enough(properties) ? "mma.sync (" + capability + ")" : "none (" + capability + ", needs 8.0)",
                   0, properties.totalGlobalMem, MOE_CUDA_EMULATED != 0, CudaDevice::can()});
  }
  return all;
}

void use_device(int index) {
  const cudaDeviceProp properties = properties_of(index);
  if (!is_new_enough(properties))
    fail(index, std::string(properties.name) + " has compute capability " + capability_text(properties) +
                    ": the kernels need 8.0 (Ampere) or later");
  check(cudaSetDevice(index), "cudaSetDevice");
  for (const KernelEntry& kernel : kernels::kAll) {
    cudaFuncAttributes attributes{};
    const cudaError_t status = cudaFuncGetAttributes(&attributes, kernel.stub);
    if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction ||
        status == cudaErrorUnsupportedPtxVersion) {
      cudaGetLastError();
      fail(index, "this build has no kernels for " + std::string(properties.name) + ", compute capability " +
                      capability_text(properties) + " (" + cudaGetErrorName(status) + ")");
    }
    check(status, "cudaFuncGetAttributes");
    break;  // all are built for the same architectures
  }
  for (const KernelMemory& kernel : kernels_with_much_memory())
    check(cudaFuncSetAttribute(kernel.kernel->stub, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(kernel.shared_bytes)),
          kernel.kernel->name);
}

}  // namespace moe::cuda
