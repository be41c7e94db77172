// The one exception native code throws. The library never prints and never aborts.
#pragma once
#include <stdexcept>
#include <string>

namespace moe {

// Order matters: src/base/errors.ts lists the JavaScript codes in the same order, and a test compares the two.
enum class ErrorCode : int {
  kConfig,
  kShape,
  kCheckpoint,
  kDeviceUnavailable,
  kOutOfMemory,
  kDevice,
  kDeviceLost,  // the device failed for good: only a new process can use it again
  kQueueFull,
  kPeerLost,
  kTimeout,
  kAborted,
  kClosed,
  kInternal,
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace moe
