// Weights as small integers with a scale: value = q * scale. One quantiser for every device, so that all hold the same
// numbers.
#pragma once
#include <cstdint>

#include "core/config.h"

namespace moe {

// Quantises an output feature's `count` weights. Each `group` of them shares a scale (0: all do); the last group may be
// shorter. q: [count]; scales: [ceil(count / group)], or [1], bfloat16 bits.
//
// int8: the scale is the largest magnitude / 127, rounded up. int4: the scale with the least squared error among some
// around the largest magnitude / 8, fitted to its rounded weights. A group with a weight that is not finite gets the
// scale NaN and q = 0.
void quantize(WeightType type, const float* weights, int64_t count, int64_t group, int8_t* q, uint16_t* scales);

}  // namespace moe
