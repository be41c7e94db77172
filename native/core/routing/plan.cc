#include "core/routing/plan.h"

#include <algorithm>
#include <numeric>

namespace moe {

void plan_on_host(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) {
  int32_t* const offsets = out.expert_offsets;
  std::fill(offsets, offsets + num_experts + 1, 0);
  for (int64_t slot = 0; slot < out.slots; ++slot)
    if (experts[slot] >= 0) ++offsets[experts[slot] + 1];
  std::inclusive_scan(offsets, offsets + num_experts + 1, offsets);

  for (int64_t slot = 0; slot < out.slots; ++slot) {
    const int32_t expert = experts[slot];
    const int32_t row = expert >= 0 ? offsets[expert]++ : -1;
    out.row_of_slot[slot] = row;
    if (row >= 0) out.slot_of_row[row] = static_cast<int32_t>(slot);
  }

  // Each start has advanced to the next expert's start: move them back into place.
  std::shift_right(offsets, offsets + num_experts + 1, 1);
  offsets[0] = 0;
}

}  // namespace moe
