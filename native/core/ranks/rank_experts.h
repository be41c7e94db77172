// The experts of a layer spread over the ranks of a group.
#pragma once
#include <memory>

#include "core/experts/routed_experts.h"
#include "core/ranks/expert_parallel.h"

namespace moe {

class RankExperts final : public RoutedExperts {
 public:
  // Leaves of `weights` what the rank holds and writes into `spec` how much that is. Throws kConfig for what the device
  // cannot hold.
  static void keep_own(Device& device, LayerSpec& spec, LayerWeights& weights, const ParallelOptions& options);

  // As ExpertParallel. `prepared` are the experts that `keep_own` left.
  RankExperts(Device& device, const LayerSpec& spec, std::unique_ptr<PreparedExperts> prepared, ParallelOptions options)
      : device_(device),
        weight_on_input_(spec.moe.weight_on_input),
        prepared_(std::move(prepared)),
        parallel_(device, spec, std::move(options)) {}

  void run(Workspace& workspace, Matrix hidden, const Routing& routing, FunctionRef<Matrix()> shared, Matrix out,
           const std::stop_token& stop) override;
  const PreparedExperts& prepared() const override { return *prepared_; }
  void fail(const std::exception_ptr& cause) noexcept override { parallel_.group().fail(cause); }
  int64_t next_call() override { return parallel_.group().next_call(); }
  uint32_t number() const override { return parallel_.number(); }
  void sum(std::span<double> values) override { parallel_.sum(values); }

 private:
  Device& device_;
  bool weight_on_input_;
  std::unique_ptr<PreparedExperts> prepared_;
  ExpertParallel parallel_;
};

}  // namespace moe
