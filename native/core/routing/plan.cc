#include "core/routing/plan.h"

#include <algorithm>
#include <numeric>

namespace moe {

void SortedSlots::sort(std::span<const int32_t> experts, int32_t num_experts, int32_t slots_per_token) {
  fan_out = slots_per_token;
  slot_of_row.resize(experts.size());
  row_of_slot.resize(experts.size());
  offsets.assign(num_experts + 1, 0);
  const auto has_row = [num_experts](int32_t expert) {
    return static_cast<uint32_t>(expert) < static_cast<uint32_t>(num_experts);
  };
  for (const int32_t expert : experts)
    if (has_row(expert)) ++offsets[expert + 1];
  std::inclusive_scan(offsets.begin(), offsets.end(), offsets.begin());

  for (size_t slot = 0; slot < experts.size(); ++slot) {
    const int32_t expert = experts[slot];
    const int32_t row = has_row(expert) ? offsets[expert]++ : -1;
    row_of_slot[slot] = row;
    if (row >= 0) slot_of_row[row] = static_cast<int32_t>(slot);
  }

  // Each start has advanced to the next expert's start: move them back into place.
  std::shift_right(offsets.begin(), offsets.end(), 1);
  offsets[0] = 0;
}

}  // namespace moe
