// Attention of some rows to one block of keys, and what surrounds it. Every row is summed up in one order, whatever the
// number of rows beside it.
#pragma once

// Rows that share loads of keys and values: as many as registers can sum up.
constexpr int kAttendRows = kLanes == 16 ? 8 : kLanes == 8 ? 4 : 2;
constexpr int kKeyVectors = kKvTokens / kLanes;                      // of one step of a head's keys
constexpr int kSoloColumns = kStreamAccumulators / 2;                // vectors of a value, for one row
constexpr int kSharedColumns = kLanes == 16 || kLanes == 8 ? 2 : 4;  // likewise, for kAttendRows

// Blocks of 16 keys whose scores are summed up at once: enough to hide the latency of fma.
constexpr int blocks_together(int rows) {
  const int blocks = kStreamAccumulators / (rows * kKeyVectors);
  return blocks > kKeyBlocks ? kKeyBlocks : blocks > 1 ? blocks : 1;
}

// scores[r][b * 16 + i] = scale * sum over d of queries[r][d] * keys[b][d][i], for `Blocks` blocks of 16 keys. The
// prefetchers of the hardware do not know which block comes next: where `Ahead`, memory brings it meanwhile, number by
// number.
template <int Rows, int Blocks, bool Ahead>
inline void score(const AttendTask& task, int64_t row, int64_t block) {
  constexpr int kVectors = Blocks * kKeyVectors;
  Vec acc[Rows][kVectors];
  const float* query[Rows];
  const float* key[Blocks];
  const char* ahead[Blocks];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    query[r] = task.queries[row + r];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) acc[r][v] = zero();
  }
#pragma GCC unroll 4
  for (int b = 0; b < Blocks; ++b) {
    key[b] = task.keys[block + b];
    ahead[b] = task.keys_ahead[block + b];
  }
  const int64_t ahead_step = kKvTokens * task.number_bytes;
  for (int64_t d = 0; d < task.key_size; ++d) {
    if constexpr (Ahead) {
#pragma GCC unroll 4
      for (int b = 0; b < Blocks; ++b) __builtin_prefetch(ahead[b] + d * ahead_step);
    }
    Vec k[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) k[v] = load(key[v / kKeyVectors] + d * kKvTokens + v % kKeyVectors * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const Vec q = broadcast(query[r][d]);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) acc[r][v] = fma(q, k[v], acc[r][v]);
    }
  }
  const Vec scale = broadcast(task.scale);
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      store(task.scores + (row + r) * kKeys + block * kKvTokens + v * kLanes, acc[r][v] * scale);
}

template <int Rows>
inline void score_rows(const AttendTask& task, int64_t& row) {
  constexpr int kBlocks = blocks_together(Rows);
  for (; row + Rows <= task.rows; row += Rows) {
    for (int64_t block = 0; block < kKeyBlocks; block += kBlocks) {
      if (row == 0 && task.keys_ahead[0])
        score<Rows, kBlocks, true>(task, row, block);
      else
        score<Rows, kBlocks, false>(task, row, block);
    }
  }
  if constexpr (Rows > 1) score_rows<Rows / 2>(task, row);
}

// Scores of one row become exp(score - max), 0 for keys that it does not see.
inline void soften(const AttendTask& task, int64_t row) {
  const float minus_infinity = -__builtin_inff();
  float* const scores = task.scores + row * kKeys;
  for (int64_t i = 0; i < task.first[row]; ++i) scores[i] = minus_infinity;
  for (int64_t i = task.end[row]; i < kKeys; ++i) scores[i] = minus_infinity;
  Vec most = load(scores);
  for (int64_t i = kLanes; i < kKeys; i += kLanes) most = larger(most, load(scores + i));
  float lane[kLanes];
  store(lane, most);
  float max = lane[0];
  for (int i = 1; i < kLanes; ++i) max = lane[i] > max ? lane[i] : max;
  Vec sum = zero();
  for (int64_t i = 0; i < kKeys; i += kLanes) {
    const Vec e = exp(load(scores + i) - broadcast(max));
    store(scores + i, e);
    sum = sum + e;
  }
  task.max[row] = max;
  task.sum[row] = sum_lanes(sum);
}

// out[row + r] += sum over keys [begin, end) of scores * values, for `Columns` vectors from `column` on.
template <int Rows, int Columns, bool Ahead>
inline void mix(const AttendTask& task, int64_t row, int64_t column, int64_t begin, int64_t end) {
  Vec acc[Rows][Columns];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < Columns; ++c) acc[r][c] = load(task.out + (row + r) * task.out_stride + column + c * kLanes);
  const float* const scores = task.scores + row * kKeys;
  for (int64_t key = begin; key < end;) {
    const int64_t block = key / kKvTokens, after = (block + 1) * kKvTokens < end ? (block + 1) * kKvTokens : end;
    const int64_t first = (key - block * kKvTokens) * task.value_stride + column;
    const float* value = task.values[block] + first;
    const char* ahead = Ahead ? task.values_ahead[block] + first * task.number_bytes : nullptr;
    for (; key < after; ++key, value += task.value_stride) {
      if constexpr (Ahead) {
#pragma GCC unroll 16
        for (int c = 0; c < Columns; ++c) __builtin_prefetch(ahead + c * kLanes * task.number_bytes);
        ahead += task.value_stride * task.number_bytes;
      }
      Vec v[Columns];
#pragma GCC unroll 16
      for (int c = 0; c < Columns; ++c) v[c] = load(value + c * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const Vec score = broadcast(scores[r * kKeys + key]);
#pragma GCC unroll 16
        for (int c = 0; c < Columns; ++c) acc[r][c] = fma(score, v[c], acc[r][c]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < Columns; ++c) store(task.out + (row + r) * task.out_stride + column + c * kLanes, acc[r][c]);
}

template <int Rows, int Columns, bool Ahead>
inline void mix_columns(const AttendTask& task, int64_t row, int64_t begin, int64_t end) {
  if (begin >= end) return;
  int64_t column = 0;
  for (; column + Columns * kLanes <= task.out_stride; column += Columns * kLanes)
    mix<Rows, Columns, Ahead>(task, row, column, begin, end);
  for (; column < task.out_stride; column += kLanes) mix<Rows, 1, Ahead>(task, row, column, begin, end);
}

// Rows see the same keys but at the ends, which each passes alone: a key that a row does not see may be NaN.
template <int Rows>
inline void mix_rows(const AttendTask& task, int64_t& row) {
  for (; row + Rows <= task.rows; row += Rows) {
    int64_t begin = task.first[row], end = task.end[row];
    for (int r = 1; r < Rows; ++r) {
      begin = task.first[row + r] > begin ? task.first[row + r] : begin;
      end = task.end[row + r] < end ? task.end[row + r] : end;
    }
    if (end < begin) end = begin;
    const auto alone = [&](int r, int64_t from, int64_t to) {
      mix_columns<1, kSoloColumns, false>(task, row + r, from, to);
    };
    for (int r = 0; Rows > 1 && r < Rows; ++r)
      alone(r, task.first[row + r], begin < task.end[row + r] ? begin : task.end[row + r]);
    constexpr int kColumns = Rows == 1 ? kSoloColumns : kSharedColumns;
    if (row == 0 && task.values_ahead[0])
      mix_columns<Rows, kColumns, true>(task, row, begin, end);
    else
      mix_columns<Rows, kColumns, false>(task, row, begin, end);
    for (int r = 0; Rows > 1 && r < Rows; ++r)
      alone(r, end > task.first[row + r] ? end : task.first[row + r], task.end[row + r]);
  }
  if constexpr (Rows > 1) mix_rows<Rows / 2>(task, row);
}

inline void attend(const AttendTask& task) {
  int64_t row = 0;
  score_rows<kAttendRows>(task, row);
  for (row = 0; row < task.rows; ++row) {
    soften(task, row);
    for (int64_t column = 0; column < task.out_stride; column += kLanes)
      store(task.out + row * task.out_stride + column, zero());
  }
  row = 0;
  mix_rows<kAttendRows>(task, row);
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

// `count` is a multiple of 16.
inline void widen_numbers(KvNumber type, const void* from, const float* scales, int64_t per_scale, int64_t count,
                          float* to) {
  if (type == KvNumber::kBFloat16) {
    const uint16_t* const halves = static_cast<const uint16_t*>(from);
    for (int64_t i = 0; i < count; i += kLanes) store(to + i, widen_bfloat16(halves + i));
    return;
  }
  const char* const bytes = static_cast<const char*>(from);
  if (per_scale == 0) {  // the scales are those of 16 keys side by side
    for (int64_t i = 0; i < count; i += kLanes) store(to + i, widen_int8(bytes + i) * load(scales + i % kKvTokens));
    return;
  }
  for (int64_t i = 0; i < count; i += kLanes) store(to + i, widen_int8(bytes + i) * broadcast(scales[i / per_scale]));
}

inline void transpose_keys(const float* rows, int64_t stride, int64_t size, float* keys) {
  for (int64_t d = 0; d < size; d += kLanes)
    store_tile([&](int64_t i) { return rows + i * stride + d; }, kKvTokens, size - d, keys + d * kKvTokens);
}

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
