#pragma once
#include <cstdint>

namespace moe {

// The k largest of values [count], largest first, equal values by lower index, into indices and best, [k] each.
// k <= count. NaN is larger than nothing.
void top_k(const float* values, int32_t count, int32_t k, int32_t* indices, float* best);

}  // namespace moe
