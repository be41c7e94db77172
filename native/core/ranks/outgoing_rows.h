// What a rank's batch sends to the sets of ranks that hold its experts.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/ranks/placement.h"

namespace moe {

// Rows that one rank sends to one set in one chunk, and how many choices each row carries at most.
struct RowCount {
  int32_t rows;
  int32_t choices;
};

// Part `part` of `count` things cut into `parts`, as even as can be.
struct Part {
  Part(int64_t count, int64_t part, int64_t parts) : begin(count * part / parts), end(count * (part + 1) / parts) {}
  Part(int64_t first, int64_t behind_last) : begin(first), end(behind_last) {}
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// The tokens are cut into chunks of consecutive tokens, which travel one after another. To each set a chunk sends
// either one row per choice, or one row per token with all its choices there: whichever is fewer bytes. Rows are in the
// order of tokens. The rows of a (chunk, set) are cut into slices of consecutive rows; one choice of a row makes one
// result, and results of a slice are in the order of rows and choices.
//
// Vectors keep their memory, so that a steady state allocates nothing.
class OutgoingRows {
 public:
  // experts: [tokens, top_k], -1 where there is no choice.
  void build(const Placement& placement, std::span<const int32_t> experts, int32_t top_k, int32_t chunks,
             int32_t slices, int64_t hidden_size);

  int32_t chunks() const { return chunks_; }
  const RowCount& count(int32_t chunk, int set) const { return counts_[at(chunk, set)]; }
  std::span<const RowCount> counts() const { return counts_; }  // [chunks, sets]
  // The tokens of its rows: [rows].
  std::span<const int32_t> tokens_of(int32_t chunk, int set) const {
    return {tokens_.data() + first_row_[at(chunk, set)], static_cast<size_t>(count(chunk, set).rows)};
  }
  // The experts of its rows by their place in the set: [rows, choices], -1 where a row has fewer.
  std::span<const int32_t> experts_of(int32_t chunk, int set) const {
    const RowCount& n = count(chunk, set);
    return {experts_.data() + first_expert_[at(chunk, set)], static_cast<size_t>(n.rows) * n.choices};
  }
  int64_t results(int32_t chunk, int32_t slice, int set) const { return results_[at(chunk, set) * slices_ + slice]; }

  // Results stand in blocks, in the order (chunk, slice, sets beginning with `first_set`), and in a block in the order
  // of slots: sorted by block, as rows at home are by expert. The block of each slot's result, -1 where there is none:
  // [tokens, top_k].
  void place_results(int first_set, std::vector<int32_t>& block_of_slot) const;
  int32_t blocks() const { return chunks_ * slices_ * sets_; }

 private:
  size_t at(int32_t chunk, int set) const { return static_cast<size_t>(chunk) * sets_ + set; }
  void count_rows(const Placement& placement, std::span<const int32_t> experts, int64_t hidden_size);
  void fill_rows(const Placement& placement, std::span<const int32_t> experts);

  int32_t chunks_ = 0, slices_ = 1, top_k_ = 0;
  int sets_ = 0;
  int64_t tokens_in_batch_ = 0;
  std::vector<RowCount> counts_;
  std::vector<int64_t> first_row_, first_expert_, results_;
  std::vector<int32_t> tokens_, experts_;
  std::vector<int32_t> block_of_slot_;  // which (chunk, set, slice) a slot's result is in, -1
};

}  // namespace moe
