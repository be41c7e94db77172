#include "core/weights/read_weights.h"

#include <algorithm>
#include <cstdlib>

#include "core/weights/blocks.h"
#include "core/weights/float16.h"
#include "core/weights/integers.h"

namespace moe {
namespace {

// `out` counts from the first of the larger matrix.
void apply_scales(const WeightScales& scales, int64_t out, int64_t outs, int64_t in, int64_t ins, float* to) {
  for (int64_t o = 0; o < outs; ++o, to += ins) {
    const int64_t row = (out + o) / scales.out_block * scales.out_stride;
    for_each_group(scales, in, ins, [&](int64_t group, int64_t begin, int64_t end) {
      const int64_t index = row + group * scales.in_stride;
      const float scale = read_float(scales.data, scales.dtype, index);
      for (int64_t i = begin; i < end; ++i) to[i] *= scale;
      if (!scales.offsets) return;
      const float offset = read_float(scales.offsets, scales.dtype, index);
      for (int64_t i = begin; i < end; ++i) to[i] += offset;
    });
    if (scales.factor != 1)
      for (int64_t i = 0; i < ins; ++i) to[i] *= scales.factor;
    if (scales.divisor != 1)
      for (int64_t i = 0; i < ins; ++i) to[i] /= scales.divisor;
  }
}

}  // namespace

void read_block(const WeightMatrix& matrix, int64_t out, int64_t outs, int64_t in, int64_t ins, float* to) {
  if (matrix.order) {
    for (int64_t o = 0; o < outs; ++o) read_block(row_of(matrix, out + o), 0, 1, in, ins, to + o * ins);
    return;
  }
  if (matrix.blocks) return read_blocks(matrix, out, outs, in, ins, to);
  const int64_t first = (matrix.first_out + out) * matrix.out_stride + in * matrix.in_stride;
  if (is_integer(matrix.dtype))
    read_integers(matrix, out, outs, in, ins, to);
  else if (std::abs(matrix.out_stride) < std::abs(matrix.in_stride))  // along the source's denser dimension
    for (int64_t i = 0; i < ins; ++i)
      read_floats(matrix.data, matrix.dtype, first + i * matrix.in_stride, matrix.out_stride, outs, to + i, ins);
  else
    for (int64_t o = 0; o < outs; ++o)
      read_floats(matrix.data, matrix.dtype, first + o * matrix.out_stride, matrix.in_stride, ins, to + o * ins);
  if (matrix.scales) apply_scales(matrix.scales, matrix.first_out + out, outs, in, ins, to);
}

WeightMatrix row_of(const WeightMatrix& matrix, int64_t out) {
  WeightMatrix row = matrix;
  row.first_out += matrix.order ? matrix.order.row_of(out) : out;
  row.out_features = 1;
  row.order = {};
  return row;
}

std::vector<float> read_transposed(const WeightMatrix& matrix) {
  std::vector<float> row(matrix.in_features), values(matrix.out_features * matrix.in_features);
  for (int64_t out = 0; out < matrix.out_features; ++out) {
    read_block(matrix, out, 1, 0, matrix.in_features, row.data());
    for (int64_t in = 0; in < matrix.in_features; ++in) values[in * matrix.out_features + out] = row[in];
  }
  return values;
}

std::vector<float> read_vector(const WeightVector& vector) {
  std::vector<float> values(vector ? vector.size : 0);
  read_floats(vector.data, vector.dtype, 0, vector.stride, static_cast<int64_t>(values.size()), values.data());
  return values;
}

}  // namespace moe
