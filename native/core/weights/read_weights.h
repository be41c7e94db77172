// Stored weights of any type and layout as float32, scales applied.
#pragma once
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace moe {

// Elements (out + o, in + i) for o in [0, outs), i in [0, ins), into to[o * ins + i].
void read_block(const WeightMatrix& matrix, int64_t out, int64_t outs, int64_t in, int64_t ins, float* to);

// A whole matrix as [in, out]; empty when there is none.
std::vector<float> read_transposed(const WeightMatrix& matrix);

// All values; empty when there is no vector.
std::vector<float> read_vector(const WeightVector& vector);

// An output feature, as a matrix of one row.
WeightMatrix row_of(const WeightMatrix& matrix, int64_t out);

}  // namespace moe
