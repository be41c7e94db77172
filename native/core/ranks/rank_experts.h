// The experts of a layer spread over the ranks of a group: rows travel to the ranks that hold their experts, and their
// results back.
#pragma once
#include <memory>
#include <span>
#include <string>

#include "core/experts/routed_experts.h"
#include "core/ranks/expert_exchange.h"
#include "core/ranks/expert_group.h"
#include "core/ranks/local_experts.h"
#include "core/ranks/placement.h"

namespace moe {

struct ParallelOptions {
  std::shared_ptr<ExpertGroup> group;
  Placement placement;
  // comp_comm_parallel_degree, 1 without comp_comm_parallel: the batch travels in so many pieces, and the experts run
  // on one while others are on their way.
  int32_t chunks = 1;
  // group_wise_a2a: each member of a set carries its part of the rows between sets, and the set shares them inside.
  bool group_wise = false;
  std::string facts = {};  // lines `name=value` of all that describes the layer: those of every rank are the same
};

class RankExperts final : public RoutedExperts {
 public:
  // Leaves of `weights` what the rank holds and writes into `spec` how much that is. Throws kConfig for what the device
  // cannot hold.
  static void keep_own(Device& device, LayerSpec& spec, LayerWeights& weights, const ParallelOptions& options);

  // `prepared` are the experts that `keep_own` left. Every rank describes the layer to all others; throws kConfig where
  // they differ.
  RankExperts(Device& device, const LayerSpec& spec, std::unique_ptr<PreparedExperts> prepared, ParallelOptions options,
              StageClock clock);

  void run(Workspace& workspace, Matrix hidden, const Routing& routing, FunctionRef<Matrix()> shared, Matrix out,
           const std::stop_token& stop) override;
  const PreparedExperts& prepared() const override { return *prepared_; }
  void fail(const std::exception_ptr& cause) noexcept override { group().fail(cause); }
  int64_t next_call() override { return group().next_call(); }
  uint32_t number() const override { return membership_.number(); }
  void sum(std::span<double> values) override;

 private:
  ExpertGroup& group() const { return membership_.group(); }
  const GroupShape& shape() const { return group().shape(); }
  void expect_same_layer(std::string_view facts);

  Device& device_;
  bool weight_on_input_;
  std::unique_ptr<PreparedExperts> prepared_;
  ExpertGroup::Membership membership_;
  ExpertExchange exchange_;
  LocalExperts local_;
  StageClock clock_;
};

}  // namespace moe
