#include "core/ranks/column_parallel.h"

#include <string>

#include "core/error.h"
#include "core/ranks/outgoing_rows.h"

namespace moe {
namespace {

WeightMatrix rows_of(const WeightMatrix& matrix, const GroupShape& shape) {
  if (!matrix) return matrix;
  const Part part(matrix.out_features, shape.member(), shape.model_parallel);
  const int64_t bits = part.begin * matrix.out_stride * bits_of(matrix.dtype);
  if (bits % 8 != 0)
    throw Error(ErrorCode::kConfig,
                "Expected the parts of an expert to begin at whole bytes: give another `modelParallel`");
  WeightMatrix cut = matrix;
  cut.data = static_cast<const std::byte*>(matrix.data) + bits / 8;
  cut.out_features = part.size();
  cut.scales.first_out = part.begin;
  return cut;
}

WeightVector part_of(const WeightVector& vector, const GroupShape& shape) {
  if (!vector) return vector;
  const Part part(vector.size, shape.member(), shape.model_parallel);
  WeightVector cut = vector;
  cut.data = static_cast<const std::byte*>(vector.data) +
             static_cast<size_t>(part.begin * vector.stride) * size_of(vector.dtype);
  cut.size = part.size();
  return cut;
}

}  // namespace

void cut_columns(LayerSpec& spec, LayerWeights& weights, const GroupShape& shape) {
  if (shape.model_parallel == 1) return;
  if (spec.intermediate_size < shape.model_parallel || spec.routed_size() < shape.model_parallel)
    throw Error(ErrorCode::kConfig, "Expected `modelParallel` to be at most hiddenSize and intermediateSize, got " +
                                        std::to_string(shape.model_parallel));
  spec.intermediate_part =
      static_cast<int32_t>(Part(spec.intermediate_size, shape.member(), shape.model_parallel).size());
  spec.hidden_part = static_cast<int32_t>(Part(spec.routed_size(), shape.member(), shape.model_parallel).size());
  for (ExpertWeights& expert : weights.experts)
    expert = {rows_of(expert.gate, shape),      rows_of(expert.up, shape),      rows_of(expert.down, shape),
              part_of(expert.gate_bias, shape), part_of(expert.up_bias, shape), part_of(expert.down_bias, shape)};
}

}  // namespace moe
