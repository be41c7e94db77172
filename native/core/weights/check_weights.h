#pragma once
#include <string>

#include "core/config.h"

namespace moe {

// Throws kShape, naming the weight, the shape expected and the shape that came, when the weights do not fit the spec.
// Of a matrix, nothing but its scales is read: a checkpoint's that are no numbers or 0 are kCheckpoint, with the
// tensor's name.
void check_weights(const LayerSpec& spec, const LayerWeights& weights);

// Of one weight. A matrix, or a vector that is not only checked if given, must be there.
void expect_matrix(const std::string& name, const WeightMatrix& matrix, int64_t rows, int64_t cols);
void expect_vector(const std::string& name, const WeightVector& vector, int64_t size);
void expect_vector_if_given(const std::string& name, const WeightVector& vector, int64_t size);

}  // namespace moe
