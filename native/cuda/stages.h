// An NVIDIA GPU.
#pragma once
#include <memory>

#include "core/device.h"
#include "cuda/experts.h"
#include "cuda/launch_queue.h"
#include "cuda/route.h"
#include "cuda/transfer.h"

namespace moe::cuda {

// A stage adds its kernels to a queue that starts with the first download, or with synchronize: nothing waits for the
// device in between. The output of a token depends on nothing but the token and the weights: not on the other tokens
// (as long as routing does not), nor on earlier calls. A call that throws forgets what was added.
class CudaDevice final : public Device {
 public:
  // Throws kDeviceUnavailable where the device cannot run the kernels.
  explicit CudaDevice(int index);
  ~CudaDevice() override;

  void* allocate(size_t bytes) override;
  void deallocate(void* memory) noexcept override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;

  std::unique_ptr<PreparedLayer> prepare(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                         const std::stop_token& stop) override;

  void route(const PreparedLayer& layer, Matrix hidden, const Routing& out) override;
  void plan(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) override;
  void run_experts(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out,
                   const std::stop_token& stop) override;
  void run_shared(const PreparedLayer& layer, Matrix hidden, Matrix out, const std::stop_token& stop) override;
  void combine(const PreparedLayer& layer, Matrix rows, const Routing& routing, const DispatchPlan& plan, Matrix shared,
               Matrix out) override;
  std::unique_ptr<Collective> connect(Collective& host) override;
  void synchronize() override;

  // Starts what was added, without waiting. For measurements.
  void start();
  cudaStream_t stream() const { return stream_.handle; }

 private:
  struct Stream {
    Stream();
    ~Stream();
    cudaStream_t handle = nullptr;
  };
  struct Event {
    Event();
    ~Event();
    cudaEvent_t handle = nullptr;
  };

  // Runs a call of the interface on this device; if it throws, nothing of the batch is left.
  template <class Body>
  auto guarded(const Body& body);

  int index_;
  Stream stream_;
  Event finished_;  // waiting for it sleeps
  Staging staging_{stream_.handle};
  LaunchQueue queue_{stream_.handle};
  RouteStage routing_{queue_};
  ExpertsStage experts_{queue_};
  int64_t most_tokens_ = 0;  // of the stages since the last start
};

}  // namespace moe::cuda
