// Devices, versions and errors.
#include <cstring>
#include <map>

#include "cuda/runtime/api.h"

namespace moe::emulator {

thread_local int capturing = 0;

namespace {

struct ErrorText {
  const char *name, *text;
};

ErrorText text_of(cudaError_t error) {
  static const std::map<cudaError_t, ErrorText> texts = {
      {cudaSuccess, {"cudaSuccess", "no error"}},
      {cudaErrorInvalidValue, {"cudaErrorInvalidValue", "invalid argument"}},
      {cudaErrorMemoryAllocation, {"cudaErrorMemoryAllocation", "out of memory"}},
      {cudaErrorInvalidConfiguration, {"cudaErrorInvalidConfiguration", "invalid configuration argument"}},
      {cudaErrorInsufficientDriver,
       {"cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"}},
      {cudaErrorInvalidDeviceFunction, {"cudaErrorInvalidDeviceFunction", "invalid device function"}},
      {cudaErrorNoDevice, {"cudaErrorNoDevice", "no CUDA-capable device is detected"}},
      {cudaErrorInvalidDevice, {"cudaErrorInvalidDevice", "invalid device ordinal"}},
      {cudaErrorNoKernelImageForDevice,
       {"cudaErrorNoKernelImageForDevice", "no kernel image is available for execution on the device"}},
      {cudaErrorIllegalAddress, {"cudaErrorIllegalAddress", "an illegal memory access was encountered"}},
      {cudaErrorMisalignedAddress, {"cudaErrorMisalignedAddress", "misaligned address"}},
      {cudaErrorLaunchFailure, {"cudaErrorLaunchFailure", "unspecified launch failure"}},
      {cudaErrorNotReady, {"cudaErrorNotReady", "device not ready"}},
      {cudaErrorStreamCaptureUnsupported,
       {"cudaErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"}},
      {cudaErrorStreamCaptureInvalidated,
       {"cudaErrorStreamCaptureInvalidated", "operation failed due to a previous error during capture"}},
      {cudaErrorInvalidResourceHandle, {"cudaErrorInvalidResourceHandle", "invalid resource handle"}},
  };
  const auto found = texts.find(error);
  return found == texts.end() ? ErrorText{"cudaErrorUnknown", "unknown error"} : found->second;
}

}  // namespace
}  // namespace moe::emulator

using namespace moe::emulator;

extern "C" {

cudaError_t cudaDriverGetVersion(int* version) {
  *version = Device::instance().settings().driver_version;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

// As the runtime does, without a word in `count` where it fails.
cudaError_t cudaGetDeviceCount(int* count) {
  return call("cudaGetDeviceCount", [&](Device& device) {
    if (device.settings().driver_version < CUDART_VERSION / 1000 * 1000) return cudaErrorInsufficientDriver;
    if (device.settings().devices == 0) return cudaErrorNoDevice;
    *count = device.settings().devices;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  return call("cudaGetDeviceProperties", [&](Device& device) {
    if (index < 0 || index >= device.settings().devices)
      return device.misuse(cudaErrorInvalidDevice, "cudaGetDeviceProperties of device " + std::to_string(index));
    const int architecture = device.settings().architecture;
    *properties = {};
    const std::string name = "Emulated sm_" + std::to_string(architecture) + " (PTX interpreter)";
    std::strncpy(properties->name, name.c_str(), sizeof properties->name - 1);
    properties->major = architecture / 10;
    properties->minor = architecture % 10;
    properties->totalGlobalMem = device.memory().capacity_bytes();
    properties->multiProcessorCount = 4;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
    properties->maxThreadsDim[2] = 64;
    properties->maxGridSize[0] = 0x7fffffff;
    properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->sharedMemPerBlock = 48 * 1024;
    properties->sharedMemPerBlockOptin = architecture >= 90 ? 227 * 1024 : architecture == 80 ? 163 * 1024 : 99 * 1024;
    properties->sharedMemPerMultiprocessor = properties->sharedMemPerBlockOptin + 1024;
    properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
    properties->l2CacheSize = 4 << 20;
    properties->memoryBusWidth = 128;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int index) {
  return call("cudaSetDevice", [&](Device& device) {
    if (index >= 0 && index < device.settings().devices) return cudaSuccess;
    return device.misuse(cudaErrorInvalidDevice, "cudaSetDevice of device " + std::to_string(index));
  });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return call("cudaMemGetInfo", [&](Device& device) {
    *total = device.memory().capacity_bytes();
    *free = *total - device.memory().used_bytes();
    return cudaSuccess;
  });
}

cudaError_t cudaGetLastError() {
  const cudaError_t lost = Device::instance().lost();
  const cudaError_t last = take_last_error();
  return lost != cudaSuccess ? lost : last;
}

const char* cudaGetErrorName(cudaError_t error) { return text_of(error).name; }

// With the interpreter's words where the device was lost.
const char* cudaGetErrorString(cudaError_t error) {
  const Device& device = Device::instance();
  if (error == cudaSuccess || error != device.lost()) return text_of(error).text;
  thread_local std::string text;
  text = std::string(text_of(error).text) + " (" + device.reason() + ")";
  return text.c_str();
}

}  // extern "C"
