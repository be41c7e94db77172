// Sorting slots by expert on the host.
#pragma once
#include <cstdint>

#include "core/device.h"

namespace moe {

// Stable counting sort of the kept slots by expert: rows keep batch order, so a run repeats bit for bit.
// experts: [slots], -1 where dropped.
void plan_on_host(const int32_t* experts, int32_t num_experts, const DispatchPlan& out);

}  // namespace moe
