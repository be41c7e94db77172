// The stages of a layer on a CUDA device.
#pragma once
#include <memory>

#include "core/host/pool.h"
#include "core/moe_stages.h"
#include "cuda/experts.h"
#include "cuda/route.h"
#include "cuda/stream.h"

namespace moe::cuda {

class CudaPlan final : public Plan {
 public:
  CudaPlan(Pool<PlanBuffers>::Taken taken, int64_t slot_count, int32_t slots_per_token)
      : buffers(std::move(taken)), slots(slot_count), fan_out(slots_per_token) {}
  Pool<PlanBuffers>::Taken buffers;
  int64_t slots;
  int32_t fan_out;
};

class CudaStages final : public MoeStages {
 public:
  CudaStages(Stream& stream, QueuedMemory& memory) : stream_(stream), memory_(memory), all_rows_(memory) {}

  std::string packed_layout(const LayerSpec&) const override { return {}; }
  std::unique_ptr<PreparedRouter> prepare_router(const LayerSpec& spec, const LayerWeights& host) override;
  std::unique_ptr<PreparedExperts> prepare_experts(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                   const std::stop_token& stop) override;
  std::unique_ptr<PreparedExperts> prepare_shared(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                  const std::stop_token& stop) override;

  std::unique_ptr<Routing> route(const PreparedRouter& router, const Tokens& tokens, const RoutingArrays& out) override;
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
  ColumnStages* columns() override { return nullptr; }

 private:
  std::unique_ptr<PreparedExperts> prepare(const LayerSpec& spec, std::span<const ExpertWeights> host,
                                           const WeightMatrix& gate, Progress progress, const std::stop_token& stop);

  Stream& stream_;
  QueuedMemory& memory_;
  RouteStage routing_{stream_.queue(), memory_};
  ExpertsStage experts_{stream_.queue(), memory_};
  PlanBuffers all_rows_;  // the tiles of an always-on expert
  Pool<PlanBuffers> plans_;
};

}  // namespace moe::cuda
