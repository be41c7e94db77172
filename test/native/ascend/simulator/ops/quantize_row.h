// Symmetric int8 of one row: scale = greatest magnitude / 127, q = round(value / scale).
#pragma once
#include <cmath>
#include <cstdint>

namespace ascend_sim {

inline double quantize_row(double* values, int64_t width) {
  double top = 0;
  for (int64_t i = 0; i < width; ++i) top = std::isnan(values[i]) ? values[i] : std::fmax(top, std::fabs(values[i]));
  const auto scale = static_cast<float>(top / 127);
  for (int64_t i = 0; i < width; ++i) values[i] = scale == 0 ? 0 : std::nearbyint(values[i] / scale);
  return scale;
}

}  // namespace ascend_sim
