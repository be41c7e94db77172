// The routed experts of a batch, wherever they are.
#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "core/device.h"
#include "core/function_ref.h"
#include "core/ranks/exchange_plan.h"
#include "core/ranks/expert_exchange.h"
#include "core/ranks/expert_group.h"
#include "core/ranks/local_experts.h"
#include "core/ranks/node_experts.h"
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
};

// Rows travel to the ranks that hold their experts and their results back, straight or by way of a rank on each node.
class ExpertParallel {
 public:
  // Every rank describes the layer to all others; throws kConfig where they differ. Weights must be those of
  // options.placement.experts_of(set), and the columns that cut_columns leaves.
  ExpertParallel(Device& device, const LayerSpec& spec, ParallelOptions options);

  // Runs what `experts`, [tokens, K] in host memory, chooses for `hidden`. `meanwhile` is called while rows travel.
  // Returns the results, valid until the next call, sorted by blocks().of_slot as rows are by expert; there is room for
  // all slots.
  Matrix run(const PreparedExperts& held, Matrix hidden, std::span<const int32_t> experts,
             FunctionRef<void()> meanwhile, const std::stop_token& stop);
  ExpertExchange::Blocks blocks() const { return exchange().blocks(); }

  ExpertGroup& group() const { return membership_.group(); }
  uint32_t number() const { return membership_.number(); }
  // Of the next call. Any thread.
  ExchangePlan exchange_plan() const { return plan_; }
  // values[i] becomes the sum over one member of each set.
  void sum(std::span<double> values);

 private:
  // By way of a rank on each node.
  struct Levels {
    Levels(Device& device, const ExpertGroup::Membership& membership, const LayerSpec& spec,
           const ParallelOptions& options);
    SubCollective same_place;
    ExpertExchange between;
    NodeExperts node;
  };

  const GroupShape& shape() const { return group().shape(); }
  ExpertExchange& exchange() const { return by_levels_ ? levels_->between : *flat_; }
  void describe_layer(const LayerSpec& spec, const ParallelOptions& options);
  ExpertGroup::Announced share_counts(std::span<const int32_t> experts);

  ExpertGroup::Membership membership_;
  int32_t num_experts_, top_k_;
  int64_t hidden_size_;
  std::unique_ptr<ExpertExchange> flat_;
  std::unique_ptr<Levels> levels_;  // where the group has nodes
  LocalExperts local_;
  std::atomic<ExchangePlan> plan_{ExchangePlan::kFlat};
  bool by_levels_ = false;   // the last call
  int64_t most_tokens_ = 0;  // that a rank had in the last call
};

}  // namespace moe
