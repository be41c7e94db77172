// Failed CUDA calls as errors a caller can act on. Every runtime call passes through here.
#pragma once
#include <cuda_runtime_api.h>

#include <string>

#include "core/error.h"

namespace moe::cuda {

// Throws unless the call succeeded: kOutOfMemory; kDeviceLost where the context is gone, which only a new process
// repairs; kDevice otherwise. `what` names the call, or the kernel.
void check(cudaError_t status, const char* what);

// A stream of the current device, and an event without times.
class OwnStream {
 public:
  OwnStream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"); }
  ~OwnStream() { cudaStreamDestroy(stream_); }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  explicit Event(unsigned flags = 0) {
    check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | flags), "cudaEventCreateWithFlags");
  }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace moe::cuda
