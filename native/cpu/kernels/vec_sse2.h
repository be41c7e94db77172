// Four floats in a register, 16 registers, no fused multiply-add: what every x86-64 has.
#pragma once

using Vec = __m128;
constexpr int kLanes = 4;
constexpr int kPanelVectors = 2;
constexpr int kTileRows = 6;  // 12 accumulators, 2 weights, 1 input, 1 product
constexpr int kDotTileRows = kTileRows;
constexpr int kStreamAccumulators = 8;    // for few rows: enough to hide the latency of add, panels are added up to it
constexpr int64_t kWidenFloat16From = 2;  // see weights.h
constexpr int64_t kWidenBFloat16From = kNever;

inline Vec zero() { return _mm_setzero_ps(); }
inline Vec broadcast(float value) { return _mm_set1_ps(value); }
inline Vec load(const float* from) { return _mm_loadu_ps(from); }
inline void store(float* to, Vec value) { _mm_storeu_ps(to, value); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
inline Vec fma_at(const float* a, Vec b, Vec c) { return fma(broadcast(*a), b, c); }

// The second operand comes back when one is NaN: NaN in x stays.
inline Vec at_least(Vec x, float limit) { return _mm_max_ps(broadcast(limit), x); }
inline Vec at_most(Vec x, float limit) { return _mm_min_ps(broadcast(limit), x); }
inline Vec absolute(Vec x) { return _mm_andnot_ps(broadcast(-0.0f), x); }
inline Vec where_negative(Vec x, Vec then, Vec otherwise) {
  const __m128 negative = _mm_castsi128_ps(_mm_srai_epi32(_mm_castps_si128(x), 31));
  return _mm_or_ps(_mm_and_ps(negative, then), _mm_andnot_ps(negative, otherwise));
}
// 2^n from n + kRounder (math.h): the sum's low bits are n.
inline Vec power_of_two(Vec rounded) {
  return _mm_castsi128_ps(_mm_add_epi32(_mm_slli_epi32(_mm_castps_si128(rounded), 23), _mm_set1_epi32(0x3f800000)));
}

// Within every 128 bits: the lower or the upper two of a and b in turns; the lower or the upper two of a, then of b.
inline Vec zip_low(Vec a, Vec b) { return _mm_unpacklo_ps(a, b); }
inline Vec zip_high(Vec a, Vec b) { return _mm_unpackhi_ps(a, b); }
inline Vec join_low(Vec a, Vec b) { return _mm_shuffle_ps(a, b, 0x44); }
inline Vec join_high(Vec a, Vec b) { return _mm_shuffle_ps(a, b, 0xee); }
template <int Quad>
void store_quad(float* to, Vec value) {
  store(to, value);
}
// The sum of the quads, of which there is one.
inline void store_sum_of_quads(float* to, Vec value) { store(to, value); }

// kLanes pairs: the low halves and the high halves of 32-bit words.
inline void widen_bfloat16_pairs(const uint16_t* from, Vec& low, Vec& high) {
  const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  low = _mm_castsi128_ps(_mm_slli_epi32(words, 16));
  high = _mm_castsi128_ps(_mm_and_si128(words, _mm_set1_epi32(static_cast<int>(0xffff0000))));
}
inline Vec widen_bfloat16(const uint16_t* from) {
  const __m128i halves = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), halves));
}
inline Vec widen_float16(const uint16_t* from) {
  const __m128i half = _mm_unpacklo_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)), _mm_setzero_si128());
  const __m128i magnitude = _mm_and_si128(half, _mm_set1_epi32(0x7fff));
  const __m128i sign = _mm_slli_epi32(_mm_xor_si128(half, magnitude), 16);
  // Scaling by 2^112 moves float16's exponent range, subnormals included, onto float32's.
  const __m128 scaled = _mm_mul_ps(_mm_castsi128_ps(_mm_slli_epi32(magnitude, 13)), _mm_set1_ps(0x1p112f));
  const __m128i not_finite =
      _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7bff)), _mm_set1_epi32(0x7f800000));
  return _mm_or_ps(scaled, _mm_castsi128_ps(_mm_or_si128(sign, not_finite)));
}

inline Vec widen_int8(const char* from) {
  int32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  const __m128i bytes = _mm_cvtsi32_si128(word), pairs = _mm_unpacklo_epi8(bytes, bytes);
  return _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(pairs, pairs), 24));
}

using Words = __m128i;
inline Words load_words(const char* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
inline void store_words(int8_t* to, Words words) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), words); }
// The Nibble-th four bits of each word there, as a signed integer.
template <int Nibble>
Vec widen_int4(const char* words) {
  return _mm_cvtepi32_ps(_mm_srai_epi32(_mm_slli_epi32(load_words(words), 28 - 4 * Nibble), 28));
}

inline Words all_words(int32_t value) { return _mm_set1_epi32(value); }
inline Words broadcast_word(const int8_t* bytes) {
  int32_t word;
  __builtin_memcpy(&word, bytes, sizeof word);
  return _mm_set1_epi32(word);
}
inline Vec to_floats(Words words) { return _mm_cvtepi32_ps(words); }
inline Words load_bytes(const char* from) {
  int32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  const __m128i none = _mm_setzero_si128();
  return _mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(word), none), none);
}
// Of each byte, which is less than 16, the byte at its place in the table.
inline Words look_up(const uint8_t* table, Words bytes) {
  int8_t places[kLanes * 4];
  store_words(places, bytes);
  for (int8_t& place : places) place = static_cast<int8_t>(table[place]);
  return load_words(reinterpret_cast<const char*>(places));
}
// The low or the high half of every byte.
template <int Part>
Words nibbles_of(Words words) {
  return _mm_and_si128(Part == 0 ? words : _mm_srli_epi16(words, 4), _mm_set1_epi8(0xf));
}
constexpr int32_t kInt8DotOffset = 0;
inline Words int8_dot_words(Words words) { return words; }
// sum | (words & mask)
inline Words or_masked(Words sum, Words words, Words mask) { return sum | (words & mask); }
// acc + the products of four bytes w and four bytes x, exactly.
template <bool>
Words dot(Words acc, Words w, Words x) {
  const auto low = [](__m128i bytes) { return _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8); };
  const auto high = [](__m128i bytes) { return _mm_srai_epi16(_mm_unpackhi_epi8(bytes, bytes), 8); };
  const __m128 first = _mm_castsi128_ps(_mm_madd_epi16(low(w), low(x)));
  const __m128 second = _mm_castsi128_ps(_mm_madd_epi16(high(w), high(x)));
  const __m128i even = _mm_castps_si128(_mm_shuffle_ps(first, second, 0x88));
  const __m128i odd = _mm_castps_si128(_mm_shuffle_ps(first, second, 0xdd));
  return _mm_add_epi32(acc, _mm_add_epi32(even, odd));
}
template <bool NonNegative>
Words dot_at(Words acc, Words w, const int8_t* x) {
  return dot<NonNegative>(acc, w, broadcast_word(x));
}
