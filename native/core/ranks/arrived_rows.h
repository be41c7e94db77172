// What reaches a rank in one chunk, and where its results are.
#pragma once
#include <cstdint>
#include <vector>

#include "core/ranks/outgoing_rows.h"
#include "core/routing/plan.h"

namespace moe {

// The experts of rows travel behind them, as rows of their own: so many.
inline int64_t rows_of_experts(int64_t rows, int64_t choices, int64_t hidden_size) {
  return (rows * choices + hidden_size - 1) / hidden_size;
}

// Rows of one set and slice, in the buffer of all that arrived.
struct ArrivedBlock {
  int set;
  int32_t slice;
  int32_t rows, choices;
  int64_t first_row;    // the first of its rows; those that hold experts follow, but not on rows of the own set
  int64_t buffer_rows;  // with those
  int64_t results = 0;  // choices that experts here serve
};

// In the buffer slice follows slice; in a slice the own set comes first, then the sets after it, around the ring. An
// arrived row is a token with a few choices, so that it goes through the same plan and kernels as a batch at home.
class ArrivedRows {
 public:
  // count_from(set): what the set sends here.
  template <class CountFrom>
  void lay_out(CountFrom count_from, int own_set, int sets, int32_t slices, int64_t hidden_size) {
    blocks_.clear();
    int64_t row = 0;
    for (int32_t slice = 0; slice < slices; ++slice)
      for (int i = 0; i < sets; ++i) {
        const int set = (own_set + i) % sets;
        const RowCount count = count_from(set);
        const auto rows = static_cast<int32_t>(Part(count.rows, slice, slices).size());
        const int64_t experts = i == 0 ? 0 : rows_of_experts(rows, count.choices, hidden_size);
        blocks_.push_back({set, slice, rows, count.choices, row, rows + experts});
        row += rows + experts;
      }
    sets_ = sets;
    rows_ = row;
  }

  int64_t rows() const { return rows_; }  // of the buffer
  const ArrivedBlock& block(int32_t slice, int i) const { return blocks_[static_cast<size_t>(slice) * sets_ + i]; }
  std::span<ArrivedBlock> blocks() { return blocks_; }

  // Plans what the blocks' experts say; `experts` has those of each block in turn, [rows, choices].
  void plan(std::span<const int32_t> experts, int32_t local_experts);

  // Valid after `plan`, which is what any device makes of `experts`. `row_of_result`: for every choice in the order of
  // blocks, rows and choices, where the experts leave its result.
  int64_t slots() const { return rows_ * choices_; }
  int32_t choices() const { return choices_; }
  int64_t results() const { return sorted_.rows(); }
  const std::vector<int32_t>& experts() const { return experts_; }  // [slots], -1 where there is none
  const std::vector<int32_t>& row_of_result() const { return row_of_result_; }

 private:
  std::vector<ArrivedBlock> blocks_;
  int sets_ = 1;
  int64_t rows_ = 0;
  int32_t choices_ = 1;
  std::vector<int32_t> experts_, row_of_result_;
  SortedSlots sorted_;
};

}  // namespace moe
