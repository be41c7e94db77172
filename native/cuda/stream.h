// The one stream of a device that all work goes through, and what waits to be put on it.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/check.h"
#include "cuda/launch_queue.h"
#include "cuda/transfer.h"

namespace moe::cuda {

// A stage adds its kernels to a queue that starts with the first download, or with synchronize: nothing waits for the
// device in between.
class Stream {
 public:
  // Throws kDeviceUnavailable where the device cannot run the kernels.
  explicit Stream(int index);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Runs a call on this device; if it throws, nothing that was added is left.
  template <class Body>
  auto guarded(const Body& body) {
    try {
      use();
      return body();
    } catch (...) {
      forget();
      throw;
    }
  }

  // Work on so many tokens is added: few are worth a graph.
  void expect(int64_t tokens);
  LaunchQueue& queue() { return queue_; }
  Staging& staging() { return staging_; }
  cudaStream_t handle() const { return handle_.get(); }

  // Starts what was added, without waiting.
  void start();
  // Copies in the order of what was added.
  void upload(void* device, const void* host, size_t bytes);
  void download(void* host, const void* device, size_t bytes);
  // Waits for everything.
  void finish();

 private:
  void use() const;
  void forget();

  int index_;
  OwnStream handle_;
  Event finished_{cudaEventBlockingSync};  // waiting for it sleeps
  Staging staging_{handle_.get()};
  LaunchQueue queue_{handle_.get()};
  int64_t most_tokens_ = 0;  // since the last finish
};

}  // namespace moe::cuda
