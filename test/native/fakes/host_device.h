// A device made of plain loops over host memory, for tests of everything that drives a device.
#pragma once
#include "core/device.h"
#include "core/moe_stages.h"

namespace moe::test {

class HostDevice : public Device, public MoeStages, public ColumnStages {
 public:
  const Capabilities& capabilities() const override;
  MoeStages& moe() override { return *this; }
  void* allocate(size_t bytes) override;
  void deallocate(void* memory) noexcept override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void gather(Matrix in, std::span<const int32_t> index, Matrix out) override;
  void place_columns(Matrix part, int64_t first_column, Matrix out) override;
  std::unique_ptr<Collective> connect(Collective&) override { return nullptr; }
  void synchronize() override {}

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
  void add_identities(const PreparedExperts& experts, const Routing& routing, Matrix hidden, float shared_scale,
                      Matrix always) override;
  void run_shared(const PreparedExperts& shared, const Tokens& tokens, Matrix out,
                  const std::stop_token& stop) override;
  void combine(const PreparedExperts& experts, Matrix rows, const Routing& routing, const Plan& plan, Matrix shared,
               Matrix out) override;
  ColumnStages* columns() override { return this; }
  void run_up(const PreparedExperts& experts, Matrix hidden, const Plan& plan, Matrix intermediate,
              const std::stop_token& stop) override;
  void run_down(const PreparedExperts& experts, Matrix intermediate, const Plan& plan, Matrix out,
                const std::stop_token& stop) override;
};

}  // namespace moe::test
