// Copies between the host and the device through pinned memory: arrays of JavaScript are pageable, and a copy of those
// would be slow and would wait.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/copy_threads.h"

namespace moe::cuda {

// A ring of pinned slots. While one is copied by the device the next is filled or emptied by the host.
class Staging {
 public:
  explicit Staging(cudaStream_t stream) : stream_(stream) {}
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // `host` has been read when it returns.
  void upload(void* device, const void* host, size_t bytes);
  // Goes into the stream, behind what is there; `host` is written by the next finish().
  void download(void* host, const void* device, size_t bytes) { wanted_.push_back({host, device, bytes}); }
  // Runs the downloads that were asked for and returns when their bytes are in place.
  void finish();
  // Forgets them.
  void clear();

 private:
  static constexpr size_t kSlots = 4;
  static constexpr size_t kSlotBytes = size_t{4} << 20;

  struct Download {
    void* host;
    const void* device;
    size_t bytes;
  };
  struct Piece {
    void* host;
    size_t offset, bytes;
  };
  struct Slot {
    uint8_t* memory = nullptr;
    cudaEvent_t copied = nullptr;
    bool busy = false;          // `copied` was recorded and not waited for
    std::vector<Piece> pieces;  // to hand out when it has been
  };

  Slot& next_slot();
  void record(Slot& slot);
  void settle(Slot& slot);

  cudaStream_t stream_;
  Slot slots_[kSlots];
  size_t next_ = 0;
  std::vector<Download> wanted_;
  CopyThreads threads_;
};

}  // namespace moe::cuda
