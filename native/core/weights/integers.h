// Weights that are stored as integers of 2 to 8 bits, in words or not.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/tensor.h"

namespace moe {

// Integers that only stand as inputs behind one another from a row's first word on, whose borders they ignore.
constexpr bool is_bit_stream(DType dtype) {
  return dtype == DType::kUInt2 || dtype == DType::kUInt3 || dtype == DType::kUInt5 || dtype == DType::kUInt6;
}

constexpr bool is_integer(DType dtype) {
  return dtype == DType::kInt8 || dtype == DType::kUInt8 || dtype == DType::kUInt4 || is_bit_stream(dtype);
}

// The group of an input feature.
inline int64_t group_of(const WeightScales& scales, int64_t in) {
  if (!scales.group_of_input) return in / scales.in_block;
  int32_t group;
  std::memcpy(&group, static_cast<const std::byte*>(scales.group_of_input) + in * sizeof group, sizeof group);
  return group;
}

// Calls each(group, begin, end) for stretches of the inputs [in, in + ins), counted from `in`, that share a group.
template <class Each>
void for_each_group(const WeightScales& scales, int64_t in, int64_t ins, const Each& each) {
  for (int64_t begin = 0, end; begin < ins; begin = end) {
    const int64_t group = group_of(scales, in + begin);
    end = scales.group_of_input ? begin + 1 : std::min(ins, (group + 1) * scales.in_block - in);
    each(group, begin, end);
  }
}

// The integers at inputs [in, in + ins) of an output feature, as unsigned codes: to kInt8, 128 is added.
void read_codes(const WeightMatrix& matrix, int64_t out, int64_t in, int64_t ins, uint8_t* to);

// What is subtracted from the codes of a group.
int32_t zero_of(const WeightMatrix& matrix, int64_t out, int64_t group);

// Whether the zeros of all groups are this.
bool are_zeros(const WeightMatrix& matrix, int32_t zero);

// Elements (out + o, in + i) as read_block has them, not yet scaled.
void read_integers(const WeightMatrix& matrix, int64_t out, int64_t outs, int64_t in, int64_t ins, float* to);

}  // namespace moe
