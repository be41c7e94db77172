// The stages of a layer on the CPU.
#pragma once
#include <memory>

#include "core/host/growing_buffer.h"
#include "core/host/pool.h"
#include "core/host/thread_pool.h"
#include "core/moe_stages.h"
#include "core/routing/plan.h"
#include "cpu/aligned_buffer.h"
#include "cpu/grouped_gemm.h"
#include "cpu/kernels/table.h"
#include "cpu/layer.h"

namespace moe::cpu {

Epilogue epilogue_of(const Activation& activation);

// Every stage has done its work when it returns. The output of a token depends on nothing but the token and the
// weights: not on the other tokens (as long as routing does not), the number of threads, or earlier calls.
class CpuStages final : public MoeStages, public ColumnStages {
 public:
  CpuStages(const Kernels& kernels, ThreadPool& pool) : kernels_(kernels), pool_(pool), gemm_(kernels) {}

  std::string packed_layout(const LayerSpec& spec) const override;
  std::unique_ptr<PreparedRouter> prepare_router(const LayerSpec& spec, const LayerWeights& host) override;
  std::unique_ptr<PreparedExperts> prepare_experts(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                   const std::stop_token& stop) override;
  std::unique_ptr<PreparedExperts> prepare_shared(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                  const std::stop_token& stop) override;

  std::unique_ptr<Routing> route(const PreparedRouter& router, const Tokens& tokens, const RoutingArrays& out) override;
  std::unique_ptr<PreparedLinear> prepare_linear(const LinearSpec& spec, const WeightMatrix& matrix,
                                                 const std::optional<PackedWeights>& packed) override;
  void linear(const PreparedLinear& linear, Matrix in, Matrix added, Matrix out, const std::stop_token& stop) override;
  void linears(std::span<const LinearTo> linears, Matrix in, const std::stop_token& stop) override;
  std::unique_ptr<Plan> plan(const Routing& routing) override;
  std::unique_ptr<Plan> plan(std::span<const int32_t> choices, int32_t num_experts, int32_t fan_out) override;
  std::unique_ptr<Routing> weigh(const PreparedExperts& experts, const Routing& routing, Matrix hidden, Matrix rows,
                                 float* ones) override;
  void run(const PreparedExperts& experts, Matrix hidden, const Plan& plan, Matrix out,
           const std::stop_token& stop) override;
  void run_shared(const PreparedExperts& shared, const Tokens& tokens, Matrix out,
                  const std::stop_token& stop) override;
  void add_identities(const PreparedExperts& experts, const Routing& routing, Matrix hidden, float shared_scale,
                      Matrix always) override;
  void combine(const PreparedExperts& experts, Matrix rows, const Routing& routing, const Plan& plan, Matrix shared,
               Matrix out) override;

  ColumnStages* columns() override { return this; }
  void run_up(const PreparedExperts& experts, Matrix hidden, const Plan& plan, Matrix intermediate,
              const std::stop_token& stop) override;
  void run_down(const PreparedExperts& experts, Matrix intermediate, const Plan& plan, Matrix out,
                const std::stop_token& stop) override;

 private:
  // The rows set in gemm_ are gathered from hidden [.., depth]: in tile form, valid until the next call.
  const float* gather(Matrix hidden, ThreadPool::Team& team, const std::stop_token& stop);
  // The rows become all tokens, for one expert, and are gathered.
  const float* gather_all(Matrix hidden, ThreadPool::Team& team, const std::stop_token& stop);
  // activation(up(row)) for each row, in tile form, and down of that.
  float* multiply_up(const CpuExperts& experts, const float* tiles, ThreadPool::Team& team,
                     const std::stop_token& stop);
  void multiply_both(const CpuExperts& experts, const float* tiles, Matrix out, ThreadPool::Team& team,
                     const std::stop_token& stop);

  const Kernels& kernels_;
  ThreadPool& pool_;
  GroupedGemm gemm_;
  Scratch tiles_{aligned_memory}, intermediate_{aligned_memory}, logits_{aligned_memory};
  std::vector<Product> products_;
  Pool<SortedSlots> plans_;
  int32_t all_tokens_[2] = {};  // offsets of one expert that takes every token
};

}  // namespace moe::cpu
