// Attention to a cache of int8 in products of bytes. A query is 16 bits a number, in two planes of bytes, and so is
// what a softmax gives each key: far finer than the cache's own rounding. Sums are exact integers within a block of
// keys: no row depends on those beside it.
#pragma once

#ifdef MOE_VNNI
inline bool attends_in_dots(const AttendTask& task) { return task.number == KvNumber::kInt8 && !task.values_in_keys; }

constexpr int kRowsOfBytes = 4;
constexpr int64_t kPlanes = 2;
// Accumulators of a row are one for each plane.
constexpr int vectors_of_bytes(int rows) { return kStreamAccumulators / (rows * static_cast<int>(kPlanes)); }

// What 256 * high + low means, of 16 bits in two planes.
inline Vec join_planes(Words high, Words low) { return fma(broadcast(256), to_floats(high), to_floats(low)); }

// Sixteen numbers of 16 bits: of four at a time the high bytes, then the low ones.
inline __m256i split_planes(__m512i numbers) {
  const __m128i order = _mm_setr_epi8(1, 3, 5, 7, 0, 2, 4, 6, 9, 11, 13, 15, 8, 10, 12, 14);
  return _mm256_shuffle_epi8(_mm512_cvtepi32_epi16(numbers), _mm256_broadcastsi128_si256(order));
}

// A tile of queries: [word][row][plane], then this of each row.
struct QueryOfBytes {
  float scale;
  int32_t start[kPlanes];  // of sums of products: it takes the offset of the keys back
};
template <int Rows>
inline QueryOfBytes* queries_of(const AttendTask& task, int64_t row) {
  float* const tile = task.tiles + row * attend_tile_floats(task.key_size);
  return reinterpret_cast<QueryOfBytes*>(tile + Rows * padded_key(task.key_size) / 2);
}

// The scale is NaN where a number is not finite.
inline QueryOfBytes split_query(const float* query, int64_t size, char* to, int64_t word_step) {
  constexpr float kMost = 127 * 256 + 127;
  Vec most = zero(), poison = zero();
  for (int64_t d = 0; d < size; d += kLanes) {
    const Vec x = load_part(query + d, size - d);
    most = larger(most, absolute(x));
    poison = fma(x, zero(), poison);
  }
  const float largest = join_lanes(most, [](float a, float b) { return a > b ? a : b; });
  const bool zeros = !(largest > 1e-30f);
  const Vec inverse = broadcast(zeros ? 0 : kMost / largest);
  __m512i sum = _mm512_setzero_si512(), low_sum = sum;
  for (int64_t d = 0; d < size; d += kLanes) {
    const Vec x = load_part(query + d, size - d) * inverse;
    const __m512i numbers = _mm512_maskz_cvtps_epi32(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), x);
    // Low bytes are signed, too.
    const __m512i carry = _mm512_slli_epi32(_mm512_and_si512(numbers, _mm512_set1_epi32(0x80)), 1);
    const __m256i planes = split_planes(_mm512_add_epi32(numbers, carry));
    sum = _mm512_add_epi32(sum, numbers);
    low_sum = _mm512_add_epi32(low_sum, _mm512_srai_epi32(_mm512_slli_epi32(numbers, 24), 24));
    char bytes[kPlanes * kLanes];
    __builtin_memcpy(bytes, &planes, sizeof bytes);
    for (int64_t i = 0; i < kLanes && d + i < size; i += kKvWordBytes, to += word_step)
      __builtin_memcpy(to, bytes + i * kPlanes, kPlanes * kKvWordBytes);
  }
  const int32_t low = _mm512_reduce_add_epi32(low_sum), high = (_mm512_reduce_add_epi32(sum) - low) / 256;
  const float bad = join_lanes(poison, [](float a, float b) { return a + b; });
  return {(zeros ? 0 : largest / kMost) + bad, {-kInt8DotOffset * high, -kInt8DotOffset * low}};
}

template <int Rows>
inline void split_queries(const AttendTask& task, int64_t row = 0) {
  for (; row + Rows <= task.rows; row += Rows) {
    char* const tile = reinterpret_cast<char*>(task.tiles + row * attend_tile_floats(task.key_size));
    for (int64_t r = 0; r < Rows; ++r)
      queries_of<Rows>(task, row)[r] = split_query(task.queries[row + r], task.key_size,
                                                   tile + r * kPlanes * kKvWordBytes, Rows * kPlanes * kKvWordBytes);
  }
  if constexpr (Rows > 1) split_queries<Rows / 2>(task, row);
}

// Scores of `Blocks` blocks of 16 keys.
template <int Rows, int Blocks>
inline void score_bytes(const AttendTask& task, int64_t row, int64_t block, Fetcher& fetcher) {
  const QueryOfBytes* const query = queries_of<Rows>(task, row);
  auto words = reinterpret_cast<const int8_t*>(task.tiles + row * attend_tile_floats(task.key_size));
  Words high[Rows][Blocks], low[Rows][Blocks];
  const char* key[Blocks];
#pragma GCC unroll 8
  for (int b = 0; b < Blocks; ++b) {
    key[b] = static_cast<const char*>(task.keys[block + b]);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      high[r][b] = all_words(query[r].start[0]);
      low[r][b] = all_words(query[r].start[1]);
    }
  }
  const bool alone = task.rows < 2 * Rows;
  Fetcher ahead = fetcher;
  const int64_t bytes = kKvTokens * padded_key(task.key_size);
  for (int64_t at = 0; at < bytes; at += kKvTokens * kKvWordBytes, words += Rows * kPlanes * kKvWordBytes) {
    ahead.fetch<1>();
    if (alone) ahead.fetch<Blocks - 1>();
    Words k[Blocks];
#pragma GCC unroll 8
    for (int b = 0; b < Blocks; ++b) k[b] = int8_dot_words(load_words(key[b] + at));
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const int8_t* const word = words + r * kPlanes * kKvWordBytes;
      const Words q_high = broadcast_word(word), q_low = broadcast_word(word + kKvWordBytes);
#pragma GCC unroll 8
      for (int b = 0; b < Blocks; ++b) {
        high[r][b] = dot<true>(high[r][b], k[b], q_high);
        low[r][b] = dot<true>(low[r][b], k[b], q_low);
      }
    }
  }
  fetcher = ahead;
#pragma GCC unroll 8
  for (int b = 0; b < Blocks; ++b) {
    const Vec scale = score_scale(task, block + b, 0);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
      store(task.scores + (row + r) * kKeys + (block + b) * kKvTokens,
            join_planes(high[r][b], low[r][b]) * (scale * broadcast(query[r].scale)));
  }
}

template <int Rows>
inline void score_all_bytes(const AttendTask& task, int64_t block, int64_t end, Fetcher& fetcher, int64_t row = 0) {
  constexpr int kBlocks = vectors_of_bytes(Rows) > kMostBlocksTogether ? kMostBlocksTogether : vectors_of_bytes(Rows);
  for (; row + Rows <= task.rows; row += Rows) {
    int64_t b = block;
    for (; b + kBlocks <= end; b += kBlocks)
      if (anybody_sees(task, row, Rows, b * kKvTokens, (b + kBlocks) * kKvTokens))
        score_bytes<Rows, kBlocks>(task, row, b, fetcher);
    for (; b < end; ++b)
      if (anybody_sees(task, row, Rows, b * kKvTokens, (b + 1) * kKvTokens))
        score_bytes<Rows, 1>(task, row, b, fetcher);
  }
  if constexpr (Rows > 1) score_all_bytes<Rows / 2>(task, block, end, fetcher, row);
}

// What the softmax gave the keys of all rows, in place: of four at a time the high bytes, then the low ones, zero for
// what a row does not see; and behind all of them their scale.
inline void split_softened(const AttendTask& task) {
  constexpr float kMost = 65535;
  const int64_t begin = task.first_block * kKvTokens, end = task.end_block * kKvTokens;
  for (int64_t row = 0; row < task.rows; ++row) {
    float* const scores = task.scores + row * kKeys;
    for (int64_t i = begin; i < task.first[row]; ++i) scores[i] = 0;
    for (int64_t i = task.end[row]; i < end; ++i) scores[i] = 0;
  }
  for (int64_t row = 0; row < task.rows; ++row) {
    float* const scores = task.scores + row * kKeys;
    Vec most = zero(), poison = zero();
    for (int64_t i = begin; i < end; i += kLanes) {
      const Vec x = load(scores + i);
      most = larger(most, x);
      poison = fma(x, zero(), poison);
    }
    task.out[row * task.out_stride] = largest_of(most) + sum_of(poison);
  }
  for (int64_t row = 0; row < task.rows; ++row) {
    float* const scores = task.scores + row * kKeys;
    const float largest = task.out[row * task.out_stride];
    const bool zeros = !(largest > 1e-30f);
    const Vec inverse = broadcast(zeros ? 0 : kMost / largest);
    for (int64_t i = begin; i < end; i += kLanes) {
      const __m256i planes = split_planes(_mm512_cvtps_epi32(load(scores + i) * inverse));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(reinterpret_cast<char*>(scores) + i * kPlanes), planes);
    }
    scores[kKeys - 1] = largest / kMost;
  }
}

// The values of all keys, for `Columns` vectors from `column` on.
template <int Rows, int Columns>
inline void mix_bytes(const AttendTask& task, int64_t row, int64_t column, Fetcher& fetcher) {
  Words high[Rows][Columns], low[Rows][Columns];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) high[r][c] = low[r][c] = all_words(0);
  const bool alone = task.rows < 2 * Rows;
  Fetcher ahead = fetcher;
  for (int64_t block = task.first_block; block < task.end_block; ++block) {
    const char* value = static_cast<const char*>(task.values[block]) + column * kKvWordBytes;
    auto words = reinterpret_cast<const int8_t*>(task.scores + row * kKeys) + block * kPlanes * kKvTokens;
#pragma GCC unroll 4
    for (int64_t key = 0; key < kKvTokens; key += kKvWordBytes, value += task.value_stride * kKvWordBytes) {
      ahead.fetch<1>();
      if (alone) ahead.fetch<Columns - 1>();
      Words v[Columns];
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c) v[c] = load_words(value + c * kLanes * kKvWordBytes);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const int8_t* const word = words + r * kKeys * static_cast<int64_t>(sizeof(float)) + key * kPlanes;
        const Words p_high = broadcast_word(word), p_low = broadcast_word(word + kKvWordBytes);
#pragma GCC unroll 8
        for (int c = 0; c < Columns; ++c) {
          high[r][c] = dot<true>(high[r][c], p_high, v[c]);
          low[r][c] = dot<true>(low[r][c], p_low, v[c]);
        }
      }
    }
  }
  fetcher = ahead;
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) {
    const Vec scale = broadcast(task.scores[(row + r) * kKeys + kKeys - 1]);
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c)
      store(task.out + (row + r) * task.out_stride + column + c * kLanes, join_planes(high[r][c], low[r][c]) * scale);
  }
}

template <int Rows>
inline void mix_all_bytes(const AttendTask& task, Fetcher& fetcher, int64_t row = 0) {
  constexpr int kColumns = vectors_of_bytes(Rows);
  for (; row + Rows <= task.rows; row += Rows) {
    int64_t column = 0;
    for (; column + kColumns * kLanes <= task.out_stride; column += kColumns * kLanes)
      mix_bytes<Rows, kColumns>(task, row, column, fetcher);
    for (; column < task.out_stride; column += kLanes) mix_bytes<Rows, 1>(task, row, column, fetcher);
  }
  if constexpr (Rows > 1) mix_all_bytes<Rows / 2>(task, fetcher, row);
}

inline void attend_in_dots(const AttendTask& task) {
  if (!task.same_queries) split_queries<kRowsOfBytes>(task);
  Fetcher values(task.values + task.first_block, task.end_block - task.first_block, kv_scales_bytes(task.number),
                 bytes_of_values(task));
  for (int64_t block = task.first_block; block < task.end_block; block += kMostBlocksTogether) {
    const int64_t after = block + kMostBlocksTogether;
    score_all_bytes<kRowsOfBytes>(task, block, after < task.end_block ? after : task.end_block, values);
  }
  soften(task);
  split_softened(task);
  Fetcher keys(task.keys_ahead, task.blocks_ahead, kv_scales_bytes(task.number), bytes_of_keys(task));
  mix_all_bytes<kRowsOfBytes>(task, keys);
}
#else
inline bool attends_in_dots(const AttendTask&) { return false; }
inline void attend_in_dots(const AttendTask&) {}
#endif
