// One NPU: its context, the one stream that all work goes through, and its memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "ascend/cann_library.h"
#include "ascend/soc.h"
#include "core/host/growing_buffer.h"

namespace moe::ascend {

// One thread uses it at a time; `bind` makes it the calling one. Work is put on the stream and `wait` waits for it.
class Npu {
 public:
  // Throws kDeviceUnavailable or kDevice.
  Npu(const CannLibrary& cann, int index);
  ~Npu();
  Npu(const Npu&) = delete;
  Npu& operator=(const Npu&) = delete;

  const CannLibrary& cann() const { return cann_; }
  const SocProfile& profile() const { return profile_; }
  cann::Stream stream() const { return stream_; }

  // The context of a thread is its own, so this comes before anything else on whatever thread runs now.
  void bind();

  // The memory is 64-byte aligned and uninitialised. Throws kOutOfMemory.
  void* allocate(size_t bytes);
  // Waits for work that may still use the memory.
  void deallocate(void* memory) noexcept;

  // `pinned` must stay as it is until `wait`.
  void copy_to_device(void* device, const void* pinned, size_t bytes);
  void copy_to_host(void* pinned, const void* device, size_t bytes);
  void clear(void* device, size_t bytes);
  void wait();
  // Waits after an error, whatever comes of it.
  void abandon() noexcept;

  // Throws kDevice, kDeviceLost or kOutOfMemory, with the text CANN has for this thread's failure.
  void check(cann::Status status, const char* call) const;
  // Work has been put on the stream.
  void mark_busy() { busy_ = true; }

 private:
  void copy(void* to, const void* from, size_t bytes, cann::MemcpyKind kind);

  const CannLibrary& cann_;
  const SocProfile& profile_;
  int index_;
  uint64_t id_;  // of no other device object in this process
  cann::Context context_ = nullptr;
  cann::Stream stream_ = nullptr;
  bool busy_ = false;
};

// What was in it is lost when it grows.
using DeviceScratch = GrowingBuffer<Npu>;

}  // namespace moe::ascend
