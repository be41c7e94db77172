// Attention of some rows to a block of keys. Every row is summed up in one order, whatever the number of rows beside
// it.
#pragma once

// The values that rows mix: one stretch of 16 tokens for each block, the words of a token (or of some) `stride` apart.
template <class Held>
struct Values {
  const void* const* blocks;
  int64_t stride;
};

// out[row + r] = sum over keys [begin, end) of scores * values, for `Columns` vectors from `column` on, which stand
// from `from` on in `values`; added to what is there unless `fresh`.
template <int Rows, int Columns, class Held>
inline void mix(const AttendTask& task, Values<Held> values, int64_t row, int64_t column, int64_t from, int64_t begin,
                int64_t end, bool fresh, Fetcher& fetcher) {
  constexpr int64_t kTogether = Held::kTogether;
  float* const out = task.out + row * task.out_stride + column;
  Vec acc[Rows][Columns];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < Columns; ++c) acc[r][c] = fresh ? zero() : load(out + r * task.out_stride + c * kLanes);
  Fetcher ahead = fetcher;
  for (int64_t key = begin; key < end;) {
    const int64_t block = key / kKvTokens, after = (block + 1) * kKvTokens < end ? (block + 1) * kKvTokens : end;
    int64_t first = key / kTogether * kTogether;  // of those that share words
    auto value = static_cast<const typename Held::Number*>(values.blocks[block]) +
                 ((first - block * kKvTokens) / kTogether * values.stride + from) * kTogether;
    const float* score = task.scores + row * kKeys + first;
    for (; first < after; first += kTogether, score += kTogether, value += values.stride * kTogether) {
      ahead.fetch<lines_of<Held>(Columns)>();
      typename Held::Words words[Columns];
#pragma GCC unroll 16
      for (int c = 0; c < Columns; ++c) words[c] = Held::load(value + c * kLanes * kTogether);
      const auto add = [&](int j) {
        Vec v[Columns];
#pragma GCC unroll 16
        for (int c = 0; c < Columns; ++c) v[c] = Held::number(words[c], j);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          const Vec p = broadcast(score[r * kKeys + j]);
#pragma GCC unroll 16
          for (int c = 0; c < Columns; ++c) acc[r][c] = fma(p, v[c], acc[r][c]);
        }
      };
      if (kTogether == 1 || (first >= begin && first + kTogether <= end)) {
#pragma GCC unroll 4
        for (int j = 0; j < kTogether; ++j) add(j);
      } else {
        for (int j = 0; j < kTogether; ++j)
          if (first + j >= begin && first + j < end) add(j);
      }
    }
    key = after;
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
template <int Rows, int Columns, class Held>
inline void mix_rows(const AttendTask& task, Values<Held> values, int64_t row, int64_t column, int64_t from,
                     int64_t count, Fetcher& fetcher) {
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
template <int Rows, class Held>
inline void mix_as_they_stand(const AttendTask& task, Values<Held> values, Fetcher& fetcher, int64_t row = 0) {
  Fetcher nothing;
  for (; row + Rows <= task.rows; row += Rows)
    mix_rows<Rows, columns_for(Rows)>(task, values, row, 0, 0, task.out_stride, row == 0 ? fetcher : nothing);
  if constexpr (Rows > 1) mix_as_they_stand<Rows / 2>(task, values, fetcher, row);
}

constexpr int64_t kStrip = columns_for(kAttendRows) * kLanes;

// Some columns of all rows, from values that stand side by side.
template <int Rows>
inline void mix_strip(const AttendTask& task, Values<SideBySide<float>> values, int64_t column, int64_t count,
                      Fetcher& fetcher, int64_t row = 0) {
  Fetcher nothing;
  for (; row + Rows <= task.rows; row += Rows)
    mix_rows<Rows, columns_for(kAttendRows)>(task, values, row, column, 0, count, row == 0 ? fetcher : nothing);
  if constexpr (Rows > 1) mix_strip<Rows / 2>(task, values, column, count, fetcher, row);
}

template <class Held>
inline void mix_values(const AttendTask& task) {
  using T = typename Held::Number;
  const int64_t blocks_ahead = task.values_in_keys && task.blocks_ahead > 1 ? 1 : task.blocks_ahead;
  Fetcher fetcher(task.keys_ahead, blocks_ahead, kv_scales_bytes(task.number), bytes_of_keys(task));
  const Values<Held> values{task.values, task.value_stride};
  if (task.rows < kPackFrom) return mix_as_they_stand<kAttendRows>(task, values, fetcher);
  const void* strips[kKeyBlocks];
  for (int64_t column = 0; column < task.out_stride; column += kStrip) {
    const int64_t count = task.out_stride - column < kStrip ? task.out_stride - column : kStrip;
    float* to = task.panel;
    for (int64_t block = task.first_block; block < task.end_block; ++block) {
      strips[block] = to;
      const T* from = static_cast<const T*>(task.values[block]) + column * Held::kTogether;
      for (int64_t key = 0; key < kKvTokens; key += Held::kTogether) {
        widen<Held>(from, count, to, kStrip);
        from += task.value_stride * Held::kTogether;
        to += kStrip * Held::kTogether;
      }
    }
    mix_strip<kAttendRows>(task, {strips, kStrip}, column, count, fetcher);
  }
}

inline void attend(const AttendTask& task) {
  if (attends_in_dots(task)) return attend_in_dots(task);
  with_numbers(task.number, [&]<class T>(const T*) { score_keys<T>(task); });
  soften(task);
  with_numbers(task.number, [&]<class T>(const T*) {
    if (task.values_in_keys)
      mix_values<SideBySide<T>>(task);
    else
      mix_values<InWords<T>>(task);
  });
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
