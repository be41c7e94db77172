#include "core/ranks/arrived_rows.h"

#include <algorithm>

#include "core/error.h"

namespace moe {

void ArrivedRows::plan(std::span<const int32_t> experts, int32_t local_experts) {
  choices_ = 1;
  for (const ArrivedBlock& block : blocks_) choices_ = std::max(choices_, block.choices);
  if (slots() > INT32_MAX)
    throw Error(ErrorCode::kShape, "Expected fewer than 2^31 (token, choice) pairs to reach one rank in one call");

  experts_.assign(slots(), -1);
  const int32_t* next = experts.data();
  for (ArrivedBlock& block : blocks_) {
    block.results = 0;
    for (int64_t row = block.first_row; row < block.first_row + block.rows; ++row)
      for (int32_t choice = 0; choice < block.choices; ++choice) {
        const int32_t expert = *next++;
        if (expert < -1 || expert >= local_experts)
          throw Error(ErrorCode::kPeerLost, "Expected rows for experts of this rank from set " +
                                                std::to_string(block.set) + ", got expert " + std::to_string(expert));
        experts_[row * choices_ + choice] = expert;
        block.results += expert >= 0;
      }
  }
  sorted_.sort(experts_, local_experts, choices_);
  // Slots stand in the order of blocks, rows and choices, as results do.
  row_of_result_.clear();
  for (const int32_t row : sorted_.row_of_slot)
    if (row >= 0) row_of_result_.push_back(row);
}

}  // namespace moe
