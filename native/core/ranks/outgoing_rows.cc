#include "core/ranks/outgoing_rows.h"

#include <algorithm>

namespace moe {

void OutgoingRows::build(const Placement& placement, std::span<const int32_t> experts, int32_t top_k, int32_t chunks,
                         int32_t slices, int64_t hidden_size) {
  chunks_ = chunks;
  slices_ = slices;
  top_k_ = top_k;
  sets_ = placement.sets();
  tokens_in_batch_ = static_cast<int64_t>(experts.size()) / top_k;
  count_rows(placement, experts, hidden_size);
  fill_rows(placement, experts);
}

void OutgoingRows::count_rows(const Placement& placement, std::span<const int32_t> experts, int64_t hidden_size) {
  counts_.assign(static_cast<size_t>(chunks_) * sets_, {0, 0});
  std::vector<int32_t> choices(sets_), seen(sets_);
  for (int32_t chunk = 0; chunk < chunks_; ++chunk) {
    const Part tokens(tokens_in_batch_, chunk, chunks_);
    std::fill(choices.begin(), choices.end(), 0);
    RowCount* const shared = counts_.data() + at(chunk, 0);  // rows that carry all choices of a token
    for (int64_t token = tokens.begin; token < tokens.end; ++token) {
      std::fill(seen.begin(), seen.end(), 0);
      for (int32_t k = 0; k < top_k_; ++k) {
        const int32_t expert = experts[token * top_k_ + k];
        if (expert < 0) continue;
        const int32_t set = placement.home(expert, token).set;
        if (seen[set]++ == 0) ++shared[set].rows;
        shared[set].choices = std::max(shared[set].choices, seen[set]);
        ++choices[set];
      }
    }
    for (int set = 0; set < sets_; ++set)
      if (shared[set].rows * (hidden_size + shared[set].choices) >= choices[set] * (hidden_size + 1))
        shared[set] = {choices[set], 1};
  }
}

void OutgoingRows::fill_rows(const Placement& placement, std::span<const int32_t> experts) {
  first_row_.resize(counts_.size());
  first_expert_.resize(counts_.size());
  int64_t rows = 0, slots = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    first_row_[i] = rows;
    first_expert_[i] = slots;
    rows += counts_[i].rows;
    slots += static_cast<int64_t>(counts_[i].rows) * counts_[i].choices;
  }
  tokens_.resize(rows);
  experts_.assign(slots, -1);
  results_.assign(counts_.size() * slices_, 0);
  block_of_slot_.assign(experts.size(), -1);

  std::vector<int32_t> row(sets_), slice(sets_), choice(sets_);
  for (int32_t chunk = 0; chunk < chunks_; ++chunk) {
    const Part tokens(tokens_in_batch_, chunk, chunks_);
    std::fill(row.begin(), row.end(), -1);
    std::fill(slice.begin(), slice.end(), 0);
    for (int64_t token = tokens.begin; token < tokens.end; ++token) {
      std::fill(choice.begin(), choice.end(), 0);
      for (int32_t k = 0; k < top_k_; ++k) {
        const int64_t slot = token * top_k_ + k;
        if (experts[slot] < 0) continue;
        const auto [set, local_expert] = placement.home(experts[slot], token);
        const size_t block = at(chunk, set);
        const RowCount& count = counts_[block];
        if (count.choices == 1 || choice[set] == 0) {
          tokens_[first_row_[block] + ++row[set]] = static_cast<int32_t>(token);
          choice[set] = 0;
          while (row[set] >= Part(count.rows, slice[set], slices_).end) ++slice[set];
        }
        experts_[first_expert_[block] + static_cast<int64_t>(row[set]) * count.choices + choice[set]++] = local_expert;
        block_of_slot_[slot] = static_cast<int32_t>(block * slices_ + slice[set]);
        ++results_[block * slices_ + slice[set]];
      }
    }
  }
}

void OutgoingRows::place_results(int first_set, std::vector<int32_t>& block_of_slot) const {
  std::vector<int32_t> place(results_.size());
  int32_t next = 0;
  for (int32_t chunk = 0; chunk < chunks_; ++chunk)
    for (int32_t slice = 0; slice < slices_; ++slice)
      for (int i = 0; i < sets_; ++i) {
        const size_t block = at(chunk, (first_set + i) % sets_) * slices_ + slice;
        place[block] = next++;
      }
  block_of_slot.resize(block_of_slot_.size());
  for (size_t slot = 0; slot < block_of_slot.size(); ++slot)
    block_of_slot[slot] = block_of_slot_[slot] < 0 ? -1 : place[block_of_slot_[slot]];
}

}  // namespace moe
