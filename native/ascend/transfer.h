// What travels between the host and the device, through pinned memory: nothing waits but `read` and `finish`.
#pragma once
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "ascend/npu.h"
#include "ascend/pinned_pool.h"

namespace moe::ascend {

class HostLink {
 public:
  explicit HostLink(Npu& device) : device_(device), pool_(device) {}

  // `host` has been read when this returns.
  void upload(void* device, const void* host, size_t bytes);
  template <class T>
  void send(T* device, std::span<const T> values) {
    upload(device, values.data(), values.size_bytes());
  }
  // `host` is written by `finish`, unless an error comes first.
  void download(void* host, const void* device, size_t bytes);

  // `count` values of device memory, read now: waits. Valid until `finish`.
  template <class T>
  const T* read(const T* device, size_t count) {
    return static_cast<const T*>(read_bytes(device, count * sizeof(T)));
  }

  // Waits for the device and delivers what was downloaded.
  void finish();

 private:
  struct Download {
    void* host;
    const void* pinned;
    size_t bytes;
  };

  const void* read_bytes(const void* device, size_t bytes);

  Npu& device_;
  PinnedPool pool_;
  std::vector<Download> downloads_;
};

}  // namespace moe::ascend
