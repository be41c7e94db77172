// The routed experts of a batch, wherever they are.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "core/arrived_rows.h"
#include "core/backend.h"
#include "core/device_buffer.h"
#include "core/expert_group.h"
#include "core/function_ref.h"
#include "core/outgoing_rows.h"
#include "core/placement.h"

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

// Rows travel to the ranks that hold their experts and their results back. Every result is computed by itself, and
// mixed at home in the order of choices: the numbers are those of one process, bit for bit.
class ExpertParallel {
 public:
  // Every rank describes the layer to all others; throws kConfig where they differ. Weights must be those of
  // options.placement.experts_of(set), and the columns that cut_columns leaves.
  ExpertParallel(Backend& backend, const LayerSpec& spec, ParallelOptions options);

  // Runs what `experts`, [tokens, K] in host memory, chooses for `hidden`. `meanwhile` is called while rows travel.
  // Returns the results, valid until the next call, sorted by blocks().of_slot as rows are by expert; there is room for
  // a row more.
  Matrix run(const PreparedLayer& layer, Matrix hidden, std::span<const int32_t> experts, FunctionRef<void()> meanwhile,
             const std::stop_token& stop);
  // [tokens, K], -1 where a slot has no result; below `count`.
  struct Blocks {
    std::span<const int32_t> of_slot;
    int32_t count;
  };
  Blocks blocks() const { return {block_of_slot_, outgoing_.blocks()}; }

  ExpertGroup& group() const { return membership_.group(); }
  uint32_t number() const { return membership_.number(); }
  // values[i] becomes the sum over one member of each set.
  void sum(std::span<double> values);

 private:
  struct Chunk {
    explicit Chunk(Backend& backend) : sent(backend), arrived(backend), returned(backend) {}
    ArrivedRows rows;
    DeviceBuffer sent, arrived, returned;
    uint64_t dispatch = 0, combine = 0;
    int64_t first_result = 0;  // among all that come home
  };

  const GroupShape& shape() const { return group().shape(); }
  int32_t slices() const { return options_.group_wise ? shape().model_parallel : 1; }
  int32_t slice_of_member() const { return options_.group_wise ? shape().member() : 0; }
  int set_after(int i) const { return (shape().set() + i) % shape().sets(); }
  size_t row_bytes(int64_t rows) const { return static_cast<size_t>(rows) * hidden_size_ * sizeof(float); }

  void describe_layer(const LayerSpec& spec);
  void share_counts(std::span<const int32_t> experts);
  void dispatch(int32_t chunk, Matrix hidden);
  void gather_rows(Matrix from, std::span<const int32_t> index, float* to);
  void receive(int32_t chunk);
  void share_slices(float* buffer, const std::vector<Part>& rows_of_slice);
  void run_experts(const PreparedLayer& layer, Chunk& chunk, const std::stop_token& stop);
  void run_columns(const PreparedLayer& layer, Matrix hidden, const DispatchPlan& plan, Matrix out,
                   const std::stop_token& stop);
  void all_gather_columns(Matrix part, Matrix whole);
  void combine(int32_t chunk);
  void finish(int32_t chunk);

  Backend& backend_;
  ParallelOptions options_;
  ExpertGroup::Membership membership_;
  Collective& collective_;
  int64_t hidden_size_;
  int32_t intermediate_size_, top_k_;

  OutgoingRows outgoing_;
  std::vector<RowCount> incoming_;  // [sets, chunks]
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<int32_t> block_of_slot_, index_, experts_;
  std::vector<Transfer> sends_, receives_;
  DeviceBuffer device_index_, device_experts_, slot_of_row_, row_of_slot_, expert_offsets_, done_, home_;
  DeviceBuffer part_, parts_, intermediate_;
};

}  // namespace moe
