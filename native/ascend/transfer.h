// What travels between the host and the device, through pinned memory: nothing waits but `read` and `finish`.
#pragma once
#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "ascend/npu.h"

namespace moe::ascend {

// Host memory that asynchronous copies may use, given out until the stream has passed them all.
class PinnedPool {
 public:
  explicit PinnedPool(Npu& device) : device_(device) {}
  ~PinnedPool() { release(); }
  PinnedPool(const PinnedPool&) = delete;
  PinnedPool& operator=(const PinnedPool&) = delete;

  // The memory is uninitialised, 64-byte aligned and valid until `reset`. Throws kOutOfMemory.
  void* take(size_t bytes);
  template <class T>
  T* take_as(size_t count) {
    return static_cast<T*>(take(count * sizeof(T)));
  }
  // Copies the values to the device, through memory that was taken for it.
  template <class T>
  void send(std::span<const T> values, DeviceScratch& to) {
    if (values.empty()) return;
    T* const pinned = take_as<T>(values.size());
    std::ranges::copy(values, pinned);
    device_.copy_to_device(to.reserve<T>(values.size()), pinned, values.size_bytes());
  }
  // All that was given out is free again. What took several blocks will stand in one: a steady state allocates nothing.
  void reset();
  // Waits for copies that may still use the memory.
  void release() noexcept;

 private:
  struct Block {
    std::byte* memory;
    size_t bytes, used;
  };

  Npu& device_;
  std::vector<Block> blocks_;
  size_t next_bytes_ = 0;  // at least this much in the next block
};

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
