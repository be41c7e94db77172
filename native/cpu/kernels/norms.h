// Norms of rows.
#pragma once

inline float sum_of_squares(const float* values, int64_t count) {
  Vec sum = zero();
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec value = load_part(values + i, count - i);
    sum = fma(value, value, sum);
  }
  return sum_lanes(sum);
}

inline void scale_by(const float* in, float factor, const float* weights, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes)
    store_part(out + i, load_part(in + i, count - i) * broadcast(factor) * load_part(weights + i, count - i),
               count - i);
}
