// What the functions of the stand-in have in common.
#pragma once
#include "cuda/runtime/device.h"
#include "cuda/runtime/stream.h"

namespace moe::emulator {

inline Stream* as_stream(cudaStream_t stream) { return reinterpret_cast<Stream*>(stream); }
inline Event* as_event(cudaEvent_t event) { return reinterpret_cast<Event*>(event); }

// This thread captures: calls that would wait or allocate are refused.
extern thread_local int capturing;

// Runs a call's work unless the device is lost or a test wants the call to fail.
template <class Work>
cudaError_t call(const char* function, Work work) {
  Device& device = Device::instance();
  if (const cudaError_t error = device.intercept(function); error != cudaSuccess) return remember(error);
  return remember(work(device));
}

// The same for calls that are forbidden during capture.
template <class Work>
cudaError_t call_outside_capture(const char* function, Work work) {
  return call(function, [&](Device& device) {
    if (capturing > 0)
      return device.misuse(cudaErrorStreamCaptureUnsupported, std::string(function) + " while a stream is captured");
    return work(device);
  });
}

// Device work that a stream runs later: its faults lose the device.
template <class Work>
Operation guarded(Work work) {
  return [work] {
    Device& device = Device::instance();
    if (device.lost() != cudaSuccess) return;
    try {
      work(device);
    } catch (const ptx::Fault& fault) {
      device.lose(fault);
    } catch (const std::exception& error) {
      device.lose(cudaErrorLaunchFailure, error.what());
    }
  };
}

}  // namespace moe::emulator
