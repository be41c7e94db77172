// Sorting slots by expert on the host.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace moe {

// What a Plan says, in host memory. Vectors keep their memory, so that a steady state allocates nothing.
struct SortedSlots {
  std::vector<int32_t> slot_of_row;  // [slots], the first rows() are filled
  std::vector<int32_t> row_of_slot;  // [slots], -1 where the slot has no row
  std::vector<int32_t> offsets;      // [experts + 1]; expert e owns rows [offsets[e], offsets[e + 1])
  int32_t fan_out = 1;

  // Stable counting sort of the kept slots by expert: rows keep batch order, so a run repeats bit for bit.
  // experts: [slots]; one that is not from 0 to num_experts - 1 has no row.
  void sort(std::span<const int32_t> experts, int32_t num_experts, int32_t slots_per_token);

  int64_t slots() const { return static_cast<int64_t>(row_of_slot.size()); }
  int64_t rows() const { return offsets.back(); }
};

}  // namespace moe
