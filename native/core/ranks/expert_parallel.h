// The routed experts of a batch, wherever they are.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/function_ref.h"
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

// Rows travel to the ranks that hold their experts, and their results back.
class ExpertParallel {
 public:
  // Every rank describes the layer to all others; throws kConfig where they differ. Weights must be those of
  // options.placement.experts_of(set), and the columns that cut_columns leaves.
  ExpertParallel(Device& device, const LayerSpec& spec, ParallelOptions options);

  // Runs what `experts` in host memory, as many of each row, choose for `hidden`: K, or 1 where weights multiply the
  // input. `meanwhile` is called while rows travel.
  // Returns the results, valid until the next call, sorted by blocks().of_slot as rows are by expert; there is room for
  // all slots.
  Matrix run(const PreparedExperts& held, Matrix hidden, std::span<const int32_t> experts,
             FunctionRef<void()> meanwhile, const std::stop_token& stop);
  ExpertExchange::Blocks blocks() const { return exchange_.blocks(); }

  ExpertGroup& group() const { return membership_.group(); }
  uint32_t number() const { return membership_.number(); }
  // values[i] becomes the sum over one member of each set.
  void sum(std::span<double> values);

 private:
  const GroupShape& shape() const { return group().shape(); }
  void describe_layer(std::string facts);

  ExpertGroup::Membership membership_;
  int32_t top_k_;  // of a row
  ExpertExchange exchange_;
  LocalExperts local_;
};

}  // namespace moe
