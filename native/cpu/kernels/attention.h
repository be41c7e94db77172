// Attention of some rows to a block of keys. Every row is summed up in one order, whatever the number of rows beside
// it.
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

// Scores of one row become exp(score - max), times the scale of the value where values have scales; those of keys that
// it does not see, within a vector, are of no use.
inline void soften(const AttendTask& task, int64_t row) {
  const float minus_infinity = -__builtin_inff();
  float* const scores = task.scores + row * kKeys;
  const int64_t begin = task.first[row] / kLanes * kLanes, end = task.end[row];
  const int64_t after = (end + kLanes - 1) / kLanes * kLanes;
  for (int64_t i = begin; i < task.first[row]; ++i) scores[i] = minus_infinity;
  for (int64_t i = end; i < after; ++i) scores[i] = minus_infinity;
  Vec most = load(scores + begin);
  for (int64_t i = begin + kLanes; i < after; i += kLanes) most = larger(most, load(scores + i));
  const float max = join_lanes(most, [](float a, float b) { return a > b ? a : b; });
  Vec sum = zero();
  for (int64_t i = begin; i < after; i += kLanes) {
    const Vec e = exp(load(scores + i) - broadcast(max));
    sum = sum + e;
    const float* const scales = task.value_scales[i / kKvTokens];
    store(scores + i, scales ? e * load(scales + i % kKvTokens) : e);
  }
  task.softened[row] = {max, join_lanes(sum, [](float a, float b) { return a + b; })};
}

// The values that rows mix: one stretch of 16 tokens for each block, a token's numbers `stride` apart.
template <class T>
struct Values {
  const void* const* blocks;
  int64_t stride;
};

// out[row + r] = sum over keys [begin, end) of scores * values, for `Columns` vectors from `column` on, which stand
// from `from` on in `values`; added to what is there unless `fresh`.
template <int Rows, int Columns, class T>
inline void mix(const AttendTask& task, Values<T> values, int64_t row, int64_t column, int64_t from, int64_t begin,
                int64_t end, bool fresh, Fetcher& fetcher) {
  float* const out = task.out + row * task.out_stride + column;
  Vec acc[Rows][Columns];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < Columns; ++c) acc[r][c] = fresh ? zero() : load(out + r * task.out_stride + c * kLanes);
  Fetcher ahead = fetcher;
  for (int64_t key = begin; key < end;) {
    const int64_t block = key / kKvTokens, after = (block + 1) * kKvTokens < end ? (block + 1) * kKvTokens : end;
    const T* value = static_cast<const T*>(values.blocks[block]) + (key - block * kKvTokens) * values.stride + from;
    const float* score = task.scores + row * kKeys + key;
    for (; key < after; ++key, ++score, value += values.stride) {
      ahead.fetch<lines_of<T>(Columns)>();
      Vec v[Columns];
#pragma GCC unroll 16
      for (int c = 0; c < Columns; ++c) v[c] = load_numbers(value + c * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const Vec p = broadcast(score[r * kKeys]);
#pragma GCC unroll 16
        for (int c = 0; c < Columns; ++c) acc[r][c] = fma(p, v[c], acc[r][c]);
      }
    }
  }
  fetcher = ahead;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < Columns; ++c) store(out + r * task.out_stride + c * kLanes, acc[r][c]);
}

// Vectors of a value that are mixed at once, for so many rows.
constexpr int columns_for(int rows) { return kStreamAccumulators / rows > 8 ? 8 : kStreamAccumulators / rows; }

// For `count` vectors from `column` on, `Columns` at once. Rows see the same keys but at the ends, which each passes
// alone: a key that a row does not see may be NaN.
template <int Rows, int Columns, class T>
inline void mix_rows(const AttendTask& task, Values<T> values, int64_t row, int64_t column, int64_t from, int64_t count,
                     Fetcher& fetcher) {
  int64_t begin = task.first[row], end = task.end[row];
  bool same = true;
  for (int r = 1; r < Rows; ++r) {
    same = same && task.first[row + r] == task.first[row] && task.end[row + r] == task.end[row];
    begin = task.first[row + r] > begin ? task.first[row + r] : begin;
    end = task.end[row + r] < end ? task.end[row + r] : end;
  }
  if (end < begin) end = begin;
  const auto pass = [&]<int Some>(int64_t at) {
    Fetcher nothing;
    const auto alone = [&](int r, int64_t first, int64_t after, bool fresh) {
      if (fresh || first < after)
        mix<1, Some>(task, values, row + r, column + at, from + at, first, after, fresh, nothing);
    };
    for (int r = 0; !same && r < Rows; ++r)
      alone(r, task.first[row + r], begin < task.end[row + r] ? begin : task.end[row + r], true);
    mix<Rows, Some>(task, values, row, column + at, from + at, begin, end, same, fetcher);
    for (int r = 0; !same && r < Rows; ++r)
      alone(r, end > task.first[row + r] ? end : task.first[row + r], task.end[row + r], false);
  };
  int64_t at = 0;
  for (; at + Columns * kLanes <= count; at += Columns * kLanes) pass.template operator()<Columns>(at);
  for (; at < count; at += kLanes) pass.template operator()<1>(at);
}

// Each row tile in turn, all columns of it.
template <int Rows, class T>
inline void mix_as_they_stand(const AttendTask& task, Values<T> values, Fetcher& fetcher, int64_t row = 0) {
  Fetcher nothing;
  for (; row + Rows <= task.rows; row += Rows)
    mix_rows<Rows, columns_for(Rows)>(task, values, row, 0, 0, task.out_stride, row == 0 ? fetcher : nothing);
  if constexpr (Rows > 1) mix_as_they_stand<Rows / 2>(task, values, fetcher, row);
}

constexpr int64_t kStrip = columns_for(kAttendRows) * kLanes;

// Some columns of all rows, from values that stand side by side.
template <int Rows>
inline void mix_strip(const AttendTask& task, Values<float> values, int64_t column, int64_t count, Fetcher& fetcher,
                      int64_t row = 0) {
  Fetcher nothing;
  for (; row + Rows <= task.rows; row += Rows)
    mix_rows<Rows, columns_for(kAttendRows)>(task, values, row, column, 0, count, row == 0 ? fetcher : nothing);
  if constexpr (Rows > 1) mix_strip<Rows / 2>(task, values, column, count, fetcher, row);
}

template <class T>
inline void mix_values(const AttendTask& task) {
  const int64_t blocks_ahead = task.values_in_keys && task.blocks_ahead > 1 ? 1 : task.blocks_ahead;
  Fetcher fetcher(
      task.keys_ahead, blocks_ahead,
      kKvTokens * (task.values_in_keys ? task.value_stride : task.key_size) * static_cast<int64_t>(sizeof(T)));
  const Values<T> values{task.values, task.value_stride};
  if (task.rows < kPackFrom) return mix_as_they_stand<kAttendRows>(task, values, fetcher);
  const void* strips[kKeyBlocks];
  for (int64_t column = 0; column < task.out_stride; column += kStrip) {
    const int64_t count = task.out_stride - column < kStrip ? task.out_stride - column : kStrip;
    float* to = task.panel;
    for (int64_t block = task.first_block; block < task.end_block; ++block) {
      strips[block] = to;
      const T* from = static_cast<const T*>(task.values[block]) + column;
      for (int64_t key = 0; key < kKvTokens; ++key, from += task.value_stride, to += kStrip) widen(from, count, to);
    }
    mix_strip<kAttendRows>(task, {strips, kStrip}, column, count, fetcher);
  }
}

inline void attend(const AttendTask& task) {
  with_numbers(task.number, [&]<class T>(const T*) { score_keys<T>(task); });
  for (int64_t row = 0; row < task.rows; ++row) soften(task, row);
  with_numbers(task.number, [&]<class T>(const T*) { mix_values<T>(task); });
}

inline void fold(const FoldTask& task) {
  const float most = task.of_block.max > task.so_far->max ? task.of_block.max : task.so_far->max;
  float lane[kLanes] = {task.so_far->max - most, task.of_block.max - most};
  store(lane, exp(load(lane)));
  const Vec before = broadcast(lane[0]), block = broadcast(lane[1]);
  for (int64_t i = 0; i < task.size; i += kLanes)
    store(task.values + i, fma(before, load(task.values + i), block * load(task.block_values + i)));
  task.so_far->sum = lane[0] * task.so_far->sum + lane[1] * task.of_block.sum;
  task.so_far->max = most;
}
