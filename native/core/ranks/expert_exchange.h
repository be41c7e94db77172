// Rows of tokens to the ranks that hold their experts, and the results back.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "core/collective.h"
#include "core/device.h"
#include "core/experts/workspace.h"
#include "core/function_ref.h"
#include "core/ranks/arrived_rows.h"
#include "core/ranks/group_shape.h"
#include "core/ranks/outgoing_rows.h"
#include "core/ranks/placement.h"

namespace moe {

// Every result is computed by itself, and mixed at home in the order of choices: the numbers are those of one process,
// bit for bit. One call is `plan`, then telling every rank the counts, then `run`.
class ExpertExchange {
 public:
  struct Options {
    GroupShape shape;
    Placement placement;
    int32_t chunks = 1;       // the batch travels in so many pieces
    bool group_wise = false;  // each member of a set carries its part of the rows between sets
  };

  // Device and collective are borrowed.
  ExpertExchange(Device& device, Collective& collective, int64_t hidden_size, Options options);
  const Options& options() const { return options_; }

  // experts: [tokens, top_k] in host memory, -1 where there is no choice.
  void plan(std::span<const int32_t> experts, int32_t top_k);
  std::span<const RowCount> counts() const { return outgoing_.counts(); }  // [chunks, sets]

  // Gives what a rank's `counts` are, as bytes.
  using CountsOf = FunctionRef<std::span<const std::byte>(int rank)>;
  // Runs the experts of rows that arrived, `rows` of `arrived`, and returns the results, valid until the next call;
  // rows.row_of_result() says where they are.
  using RunExperts = FunctionRef<Matrix(const ArrivedRows& rows, Matrix arrived)>;

  // Runs what the plan says for `hidden`, on every rank in step. `meanwhile` is called while rows travel. Returns the
  // results, valid until the next call, sorted by blocks().of_slot as rows are by expert; there is room for all slots.
  Matrix run(Matrix hidden, CountsOf counts_of, RunExperts run_experts, FunctionRef<void()> meanwhile);
  // [tokens, top_k], -1 where a slot has no result; below `count`.
  struct Blocks {
    std::span<const int32_t> of_slot;
    int32_t count;
  };
  Blocks blocks() const { return {block_of_slot_, outgoing_.blocks()}; }

 private:
  struct Chunk {
    explicit Chunk(Device& device) : sent(device), arrived(device), returned(device) {}
    ArrivedRows rows;
    DeviceBuffer sent, arrived, returned;
    uint64_t dispatch = 0, combine = 0;
    int64_t first_result = 0;  // among all that come home
  };

  const GroupShape& shape() const { return options_.shape; }
  int32_t slices() const { return options_.group_wise ? shape().model_parallel : 1; }
  int32_t slice_of_member() const { return options_.group_wise ? shape().member() : 0; }
  int set_after(int i) const { return (shape().set() + i) % shape().sets(); }
  size_t row_bytes(int64_t rows) const { return static_cast<size_t>(rows) * hidden_size_ * sizeof(float); }

  void lay_out(CountsOf counts_of);
  void dispatch(int32_t chunk, Matrix hidden);
  void gather_rows(Matrix from, std::span<const int32_t> index, float* to);
  void receive(int32_t chunk);
  void share_slices(float* buffer, const std::vector<Part>& rows_of_slice);
  void combine(int32_t chunk, Matrix done);
  void finish(int32_t chunk);

  Device& device_;
  Collective& collective_;
  int64_t hidden_size_;
  Options options_;

  OutgoingRows outgoing_;
  std::vector<RowCount> incoming_;  // [sets, chunks]
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<int32_t> block_of_slot_, index_, experts_;
  std::vector<Transfer> sends_, receives_;
  DeviceBuffer home_{device_};
};

}  // namespace moe
