// The built-in device: always there, always right, and fast.
#pragma once
#include <memory>

#include "core/device.h"
#include "core/plugin.h"
#include "cpu/aligned_buffer.h"
#include "cpu/grouped_gemm.h"
#include "cpu/kernels/table.h"
#include "cpu/layer.h"
#include "core/host/thread_pool.h"

namespace moe::cpu {

constexpr Epilogue epilogue_of(Activation activation) {
  return static_cast<Epilogue>(static_cast<int>(activation) + 1);
}

// Every stage has done its work when it returns. The output of a token depends on nothing but the token and the
// weights: not on the other tokens (as long as routing does not), the number of threads, or earlier calls.
class CpuDevice final : public Device {
 public:
  // threads: the most that stages use, the calling one among them.
  CpuDevice(const Kernels& kernels, int threads);

  void* allocate(size_t bytes) override;
  void deallocate(void* memory) noexcept override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;

  std::string packed_layout(const LayerSpec& spec) const override;
  bool takes_int8_activations() const override { return true; }
  std::unique_ptr<PreparedLayer> prepare(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                         const std::stop_token& stop) override;

  void route(const PreparedLayer& layer, Matrix hidden, const Routing& out) override;
  void plan(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) override;
  void run_experts(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out,
                   const std::stop_token& stop) override;
  void run_shared(const PreparedLayer& layer, Matrix hidden, Matrix out, const std::stop_token& stop) override;
  void combine(const PreparedLayer& layer, Matrix rows, const Routing& routing, const DispatchPlan& plan, Matrix shared,
               Matrix out) override;
  void gather(Matrix in, const int32_t* index, Matrix out) override;
  void place_columns(Matrix part, int64_t first_column, Matrix out) override;
  void run_up(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix intermediate,
              const std::stop_token& stop) override;
  void run_down(const PreparedLayer& layer, Matrix intermediate, const DispatchPlan& plan, Matrix out,
                const std::stop_token& stop) override;
  bool memory_is_host() const override { return true; }
  void synchronize() override {}

 private:
  ThreadPool::Team team_of(const CpuLayer& layer);
  // The rows set in gemm_ are gathered from hidden [.., depth]: in tile form, valid until the next call.
  const float* gather(const float* hidden, int64_t depth, ThreadPool::Team& team, const std::stop_token& stop);
  // The rows become all tokens, for one expert, and are gathered.
  const float* gather_all(Matrix hidden, ThreadPool::Team& team, const std::stop_token& stop);
  // down(activation(up(row))) for each row.
  void run(const PackedExperts& experts, Activation activation, const float* tiles, float* out, ThreadPool::Team& team,
           const std::stop_token& stop);

  const Kernels& kernels_;
  ThreadPool pool_;
  GroupedGemm gemm_;
  AlignedBuffer tiles_, intermediate_, logits_;
  int32_t all_tokens_[2] = {};  // offsets of one expert that takes every token
};

const Plugin& plugin();

}  // namespace moe::cpu
