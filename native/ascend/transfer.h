// What travels between the host and the device, through pinned memory: nothing waits but `read` and `finish`.
#pragma once
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "ascend/npu.h"
#include "ascend/pinned_pool.h"
#include "core/tensor.h"

namespace moe::ascend {

// A batch as it was when it went to the device.
struct UploadedBatch {
  const float* values;  // on the host, until `finish`
  float largest;        // magnitude; NaN where a value is NaN, infinity where one is infinite
  bool zeros_in_a_row;  // eight or more; a token of at least 15 values that are all zeros has such a run
};

class HostLink {
 public:
  explicit HostLink(Npu& device) : device_(device), pool_(device) {}

  // `host` has been read when this returns.
  void upload(void* device, const void* host, size_t bytes);
  // The same, but what was uploaded last stays what it is.
  template <class T>
  void send(T* device, std::span<const T> values) {
    send_bytes(device, values.data(), values.size_bytes());
  }
  // `host` is written by `finish`, unless an error comes first.
  void download(void* host, const void* device, size_t bytes);

  // `count` values of device memory, read now: waits. Valid until `finish`.
  template <class T>
  const T* read(const T* device, size_t count) {
    return static_cast<const T*>(read_bytes(device, count * sizeof(T)));
  }
  // The batch in `hidden`, if it is what was uploaded last, as a whole; else null.
  const UploadedBatch* uploaded(Matrix hidden) const;

  // Waits for the device and delivers what was downloaded.
  void finish();

 private:
  struct Download {
    void* host;
    const void* pinned;
    size_t bytes;
  };

  void send_bytes(void* device, const void* host, size_t bytes);
  const void* read_bytes(const void* device, size_t bytes);

  Npu& device_;
  PinnedPool pool_;
  std::vector<Download> downloads_;
  UploadedBatch batch_{};
  const void* batch_device_ = nullptr;
  size_t batch_bytes_ = 0;
};

}  // namespace moe::ascend
