// Products of queries and keys. Every product is summed up in one order, whatever the number of rows beside it.
#pragma once

// Rows that share loads of keys and values: as many as registers can sum up.
constexpr int kKeyVectors = kKvTokens / kLanes;  // of one step of a head's keys
constexpr int kAttendRows = kStreamAccumulators / (kKeyVectors > 2 ? kKeyVectors : 2);
// Blocks of 16 keys that are worked on at once, at most. It divides kKeyBlocks.
constexpr int kMostBlocksTogether = 4;

// Blocks whose scores are summed up at once: enough to hide the latency of fma.
constexpr int blocks_together(int rows, int most) {
  const int blocks = kStreamAccumulators / (rows * kKeyVectors);
  return blocks > most ? most : blocks > 1 ? blocks : 1;
}

// Scores of 16 keys, by their scales.
inline Vec score_scale(const AttendTask& task, int64_t block, int vector) {
  const Vec scale = broadcast(task.scale);
  return task.key_scales[block] ? scale * load(task.key_scales[block] + vector * kLanes) : scale;
}

// scores[r][b * 16 + i] = scale * sum over d of queries[r][d] * keys[b][d][i], for `Blocks` blocks of 16 keys.
template <int Rows, int Blocks, class T>
inline void score(const AttendTask& task, const void* const* keys, int64_t row, int64_t block, Fetcher& fetcher) {
  using Held = InWords<T>;
  constexpr int kVectors = Blocks * kKeyVectors;
  Vec acc[Rows][kVectors];
  const float* query = task.tiles + row * attend_tile_floats(task.key_size);
  const T* key[Blocks];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) acc[r][v] = zero();
#pragma GCC unroll 4
  for (int b = 0; b < Blocks; ++b) key[b] = static_cast<const T*>(keys[b]);
  Fetcher ahead = fetcher;
  const int64_t numbers = padded_key(task.key_size) * kKvTokens;
  for (int64_t at = 0; at < numbers; at += kKvTokens * Held::kTogether, query += Rows * Held::kTogether) {
    ahead.fetch<lines_of<Held>(kVectors)>();
    typename Held::Words words[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      words[v] = Held::load(key[v / kKeyVectors] + at + v % kKeyVectors * kLanes * Held::kTogether);
#pragma GCC unroll 4
    for (int j = 0; j < Held::kTogether; ++j) {
      Vec k[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) k[v] = Held::number(words[v], j);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const Vec q = broadcast(query[j * Rows + r]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) acc[r][v] = fma(q, k[v], acc[r][v]);
      }
    }
  }
  fetcher = ahead;
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const Vec scale = score_scale(task, block + v / kKeyVectors, v % kKeyVectors);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
      store(task.scores + (row + r) * kKeys + block * kKvTokens + v * kLanes, acc[r][v] * scale);
  }
}

// Sums of the lanes of four vectors each, to four floats: always the same tree.
inline void store_sums(float* to, Vec a, Vec b, Vec c, Vec d) {
  const Vec ab = zip_low(a, b) + zip_high(a, b), cd = zip_low(c, d) + zip_high(c, d);
  store_sum_of_quads(to, join_low(ab, cd) + join_high(ab, cd));
}

constexpr int kKeysOfDots = 4;
constexpr int kRowsOfDots = kStreamAccumulators / kKeysOfDots;

// Likewise for one block whose keys stand in rows, zeros behind them up to a multiple of 16: lanes sum up numbers of a
// key, and are summed up at the end.
template <int Rows, class T>
inline void score_rows_of_keys(const AttendTask& task, const T* keys, int64_t row, int64_t block, Fetcher& fetcher) {
  const int64_t stride = task.value_stride, whole = task.key_size / kLanes * kLanes;
  Fetcher ahead = fetcher;
  for (int key = 0; key < kKvTokens; key += kKeysOfDots, keys += kKeysOfDots * stride) {
    Vec acc[Rows][kKeysOfDots];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int i = 0; i < kKeysOfDots; ++i) acc[r][i] = zero();
    const auto add = [&](int64_t d, auto load_query) {
      Vec k[kKeysOfDots];
#pragma GCC unroll 4
      for (int i = 0; i < kKeysOfDots; ++i) k[i] = load_numbers(keys + i * stride + d);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const Vec q = load_query(task.queries[row + r] + d);
#pragma GCC unroll 4
        for (int i = 0; i < kKeysOfDots; ++i) acc[r][i] = fma(q, k[i], acc[r][i]);
      }
    };
    for (int64_t d = 0; d < whole; d += kLanes) {
      ahead.fetch<lines_of<SideBySide<T>>(kKeysOfDots)>();
      add(d, load);
    }
    if (whole < task.key_size) add(whole, [&](const float* from) { return load_part(from, task.key_size - whole); });
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
      store_sums(task.scores + (row + r) * kKeys + block * kKvTokens + key, acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
  }
  fetcher = ahead;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    float* const scores = task.scores + (row + r) * kKeys + block * kKvTokens;
#pragma GCC unroll 4
    for (int v = 0; v < kKeyVectors; ++v)
      store(scores + v * kLanes, load(scores + v * kLanes) * score_scale(task, block, v));
  }
}

// Whether somebody among these rows sees some of the keys [key, end).
inline bool anybody_sees(const AttendTask& task, int64_t row, int64_t rows, int64_t key, int64_t end) {
  for (int64_t r = row; r < row + rows; ++r)
    if (task.first[r] < end && task.end[r] > key) return true;
  return false;
}

// Of all rows, `Blocks` blocks from `block` on. The first rows fetch for all.
template <int Rows, int Blocks, class T>
inline void score_all_rows(const AttendTask& task, const void* const* keys, int64_t block, Fetcher& fetcher,
                           int64_t row = 0) {
  constexpr int kTogether = blocks_together(Rows, Blocks);
  Fetcher nothing;
  for (; row + Rows <= task.rows; row += Rows)
    for (int b = 0; b < Blocks; b += kTogether)
      if (anybody_sees(task, row, Rows, (block + b) * kKvTokens, (block + b + kTogether) * kKvTokens))
        score<Rows, kTogether, T>(task, keys + b, row, block + b, row == 0 ? fetcher : nothing);
  if constexpr (Rows > 1) score_all_rows<Rows / 2, Blocks, T>(task, keys, block, fetcher, row);
}

template <int Rows, class T>
inline void score_all_rows_of_keys(const AttendTask& task, const T* keys, int64_t block, Fetcher& fetcher,
                                   int64_t row = 0) {
  Fetcher nothing;
  for (; row + Rows <= task.rows; row += Rows)
    if (anybody_sees(task, row, Rows, block * kKvTokens, (block + 1) * kKvTokens))
      score_rows_of_keys<Rows>(task, keys, row, block, row == 0 ? fetcher : nothing);
  if constexpr (Rows > 1) score_all_rows_of_keys<Rows / 2>(task, keys, block, fetcher, row);
}

// `count` words, a multiple of the lanes: the j-th numbers of all to to[j * stride].
template <class Held>
inline void widen(const typename Held::Number* from, int64_t count, float* to, int64_t stride) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const auto words = Held::load(from + i * Held::kTogether);
#pragma GCC unroll 4
    for (int j = 0; j < Held::kTogether; ++j) store(to + j * stride + i, Held::number(words, j));
  }
}

// A block's keys out of words of them.
template <class T>
inline void widen_keys(const T* from, int64_t numbers, float* to) {
  constexpr int64_t kStep = kKvTokens * InWords<T>::kTogether;
  for (int64_t at = 0; at < numbers; at += kStep) widen<InWords<T>>(from + at, kKvTokens, to + at, kKvTokens);
}

// Rows from which on numbers are widened, or brought side by side, once for all of them.
constexpr int64_t kPackFrom = 3 * kAttendRows;

// Queries in the tiles that score_all_rows takes: [d][row of the tile], zeros behind them, one tile behind the other.
template <int Rows>
inline void pack_queries(const AttendTask& task, int64_t row = 0) {
  for (; row + Rows <= task.rows; row += Rows) {
    float* const tile = task.tiles + row * attend_tile_floats(task.key_size);
    for (int64_t d = 0; d < task.key_size; d += kLanes)
      store_tile([&](int64_t r) { return task.queries[row + r] + d; }, Rows, task.key_size - d, tile + d * Rows);
    for (int64_t i = task.key_size * Rows; i < padded_key(task.key_size) * Rows; ++i) tile[i] = 0;
  }
  if constexpr (Rows > 1) pack_queries<Rows / 2>(task, row);
}

template <class T>
inline void score_keys(const AttendTask& task) {
  const bool packs = task.rows >= kPackFrom && sizeof(T) < sizeof(float);
  if (task.values_in_keys) {
    // Those of the next block, block after block.
    Fetcher fetcher(task.keys + task.first_block + 1, task.end_block - task.first_block - 1,
                    kv_scales_bytes(task.number), bytes_of_keys(task));
    for (int64_t block = task.first_block; block < task.end_block; ++block) {
      const T* const keys = static_cast<const T*>(task.keys[block]);
      if (packs) {
        widen<SideBySide<T>>(keys, kKvTokens * task.value_stride, task.panel, 0);
        score_all_rows_of_keys<kRowsOfDots>(task, static_cast<const float*>(task.panel), block, fetcher);
      } else {
        score_all_rows_of_keys<kRowsOfDots>(task, keys, block, fetcher);
      }
    }
    return;
  }
  if (!task.same_queries) pack_queries<kAttendRows>(task);
  Fetcher fetcher(task.values + task.first_block, task.end_block - task.first_block, kv_scales_bytes(task.number),
                  bytes_of_values(task));
  const int64_t numbers = kKvTokens * padded_key(task.key_size);
  // Many rows pass over few keys, few rows over many.
  constexpr int kFew = blocks_together(kAttendRows, kMostBlocksTogether);
  const bool few = task.rows >= 2 * kAttendRows;
  const int64_t step = few ? kFew : kMostBlocksTogether;
  for (int64_t block = task.first_block / step * step; block < task.end_block; block += step) {
    const void* keys[kMostBlocksTogether];
    // Products with keys that nobody sees are made and not used: those of others will do.
    for (int64_t b = 0; b < step; ++b) {
      const int64_t seen = block + b < task.first_block ? task.first_block
                           : block + b < task.end_block ? block + b
                                                        : task.end_block - 1;
      keys[b] = task.keys[seen];
      if (packs) {
        widen_keys(static_cast<const T*>(keys[b]), numbers, task.panel + b * numbers);
        keys[b] = task.panel + b * numbers;
      }
    }
    if (packs)
      score_all_rows<kAttendRows, kFew, float>(task, keys, block, fetcher);
    else if (few)
      score_all_rows<kAttendRows, kFew, T>(task, keys, block, fetcher);
    else
      score_all_rows<kAttendRows, kMostBlocksTogether, T>(task, keys, block, fetcher);
  }
}
