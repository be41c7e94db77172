// The values that a device holds of given weights.
#pragma once
#include <vector>

#include "core/weights/float16.h"
#include "core/weights/quantize.h"

namespace moe::test {

// An output feature's weights, rounded to a type or quantised.
inline void round_to(WeightType type, int64_t group, float* weights, int64_t count) {
  switch (type) {
    case WeightType::kFloat32:
      return;
    case WeightType::kBFloat16:
      for (int64_t i = 0; i < count; ++i) weights[i] = from_bfloat16(to_bfloat16(weights[i]));
      return;
    case WeightType::kFloat16:
      for (int64_t i = 0; i < count; ++i) weights[i] = from_float16(to_float16(weights[i]));
      return;
    case WeightType::kInt8:
    case WeightType::kInt4: {
      const int64_t size = group == 0 ? count : group;
      std::vector<int8_t> q(count);
      std::vector<uint16_t> scales((count + size - 1) / size);
      quantize(type, weights, count, group, q.data(), scales.data());
      for (int64_t i = 0; i < count; ++i) weights[i] = static_cast<float>(q[i]) * from_bfloat16(scales[i / size]);
      return;
    }
  }
}

}  // namespace moe::test
