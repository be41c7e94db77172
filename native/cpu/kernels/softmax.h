// The softmax of rows over the keys of a block. Each step is done for all rows before the next: what ends a row takes
// longer than the start of the next one.
#pragma once

template <class Join>
inline float join_lanes(Vec value, Join join) {
  float lane[kLanes];
  store(lane, value);
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) lane[i] = join(lane[i], lane[i + half]);
  return lane[0];
}

inline float largest_of(Vec value) {
  return join_lanes(value, [](float a, float b) { return a > b ? a : b; });
}
inline float sum_of(Vec value) {
  return join_lanes(value, [](float a, float b) { return a + b; });
}

// Vectors of scores of which a row sees some.
struct SeenKeys {
  SeenKeys(const AttendTask& task, int64_t row)
      : begin(task.first[row] / kLanes * kLanes), end((task.end[row] + kLanes - 1) / kLanes * kLanes) {}
  int64_t begin, end;
};

// Scores become exp(score - max), times the scale of the value where values have scales; those of keys that a row does
// not see, within a vector, are of no use.
inline void soften(const AttendTask& task) {
  const float minus_infinity = -__builtin_inff();
  for (int64_t row = 0; row < task.rows; ++row) {
    float* const scores = task.scores + row * kKeys;
    const SeenKeys seen(task, row);
    for (int64_t i = seen.begin; i < task.first[row]; ++i) scores[i] = minus_infinity;
    for (int64_t i = task.end[row]; i < seen.end; ++i) scores[i] = minus_infinity;
    Vec most = load(scores + seen.begin);
    for (int64_t i = seen.begin + kLanes; i < seen.end; i += kLanes) most = larger(most, load(scores + i));
    task.softened[row].max = largest_of(most);
  }
  for (int64_t row = 0; row < task.rows; ++row) {
    float* const scores = task.scores + row * kKeys;
    const SeenKeys seen(task, row);
    const Vec max = broadcast(task.softened[row].max);
    Vec sum = zero();
    for (int64_t i = seen.begin; i < seen.end; i += kLanes) {
      const Vec e = exp(load(scores + i) - max);
      sum = sum + e;
      const float* const scales = task.value_scales[i / kKvTokens];
      store(scores + i, scales ? e * load(scales + i % kKvTokens) : e);
    }
    task.softened[row].sum = sum_of(sum);
  }
}
