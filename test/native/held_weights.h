// The values that a device holds of given weights.
#pragma once
#include <vector>

#include "core/weight_format.h"

namespace moe::test {

// An output feature's weights, rounded to a type or quantised.
inline void round_to(WeightType type, int64_t group, float* weights, int64_t count) {
  const WeightFormat& format = format_of(type);
  std::vector<std::byte> codes(count * format.code_bytes());
  std::vector<std::byte> scales(format.num_groups(count, group) * format.scale_bytes);
  format.encode(weights, count, group, codes.data(), scales.data());
  format.decode(codes.data(), scales.data(), count, group, weights);
}

}  // namespace moe::test
