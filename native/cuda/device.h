// An NVIDIA GPU.
#pragma once
#include "core/device.h"
#include "cuda/stages.h"
#include "cuda/stream.h"

namespace moe::cuda {

// The output of a token depends on nothing but the token and the weights: not on the other tokens (as long as routing
// does not), nor on earlier calls. A call that throws forgets what was added.
class CudaDevice : public Device {
 public:
  // Throws kDeviceUnavailable where the device cannot run the kernels.
  explicit CudaDevice(int index) : stream_(index), index_(memory_), stages_(stream_, memory_) {}
  ~CudaDevice() override;

  static const Capabilities& can();
  const Capabilities& capabilities() const override { return can(); }
  CudaStages& moe() override { return stages_; }

  void* allocate(size_t bytes) override;
  void deallocate(void* memory) noexcept override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void gather(Matrix in, std::span<const int32_t> index, Matrix out) override;
  void place_columns(Matrix part, int64_t first_column, Matrix out) override;
  std::unique_ptr<Collective> connect(Collective& host) override;
  void synchronize() override;

  // Starts what was added without waiting, as measurements need it.
  void start() { stream_.start(); }
  cudaStream_t stream() const { return stream_.handle(); }

 private:
  Stream stream_;
  QueuedMemory memory_{stream_.queue()};
  Scratch index_;  // of the rows that are gathered
  CudaStages stages_;
};

}  // namespace moe::cuda
