// Model parallelism inside an expert: each member of a set computes a part of the columns.
#pragma once
#include "core/config.h"
#include "core/ranks/group_shape.h"
#include "core/tensor.h"

namespace moe {

// Leaves what the member holds: its part of I in gate and up, of H in down. Both are columns of the products, so every
// sum stays whole and in order, where splitting the sum over I, as MindFormers does, would change its rounding.
void cut_columns(LayerSpec& spec, LayerWeights& weights, const GroupShape& shape);

}  // namespace moe
