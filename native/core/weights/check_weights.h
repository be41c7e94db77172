#pragma once
#include "core/config.h"

namespace moe {

// Throws kShape, naming the weight, the shape expected and the shape that came, when the weights do not fit the spec.
// Nothing is read through the pointers.
void check_weights(const LayerSpec& spec, const LayerWeights& weights);

}  // namespace moe
