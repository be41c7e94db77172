// Sixteen floats in a register, 32 registers.
#pragma once

using Vec = __m512;
constexpr int kLanes = 16;
constexpr int kPanelVectors = 2;
constexpr int kTileRows = 12;             // 24 accumulators, 2 weights, 1 input
constexpr int kDotTileRows = 6;           // of integers: a group joins the sums beside the next one's products
constexpr int kStreamAccumulators = 16;   // for few rows: enough to hide the latency of fma, panels are added up to it
constexpr int64_t kWidenFloat16From = 6;  // see weights.h
constexpr int64_t kWidenBFloat16From = 6;

inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec broadcast(float value) { return _mm512_set1_ps(value); }
inline Vec load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Vec value) { _mm512_storeu_ps(to, value); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
// fma(broadcast(*a), b, c), in one instruction even where the broadcast has another use.
inline Vec fma_at(const float* a, Vec b, Vec c) {
  asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(c) : "v"(b), "m"(*a));
  return c;
}

// The second operand comes back when one is NaN: NaN in x stays.
inline Vec at_least(Vec x, float limit) { return _mm512_max_ps(broadcast(limit), x); }
inline Vec at_most(Vec x, float limit) { return _mm512_min_ps(broadcast(limit), x); }
inline Vec absolute(Vec x) { return _mm512_abs_ps(x); }
inline Vec where_negative(Vec x, Vec then, Vec otherwise) {
  return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(x)), otherwise, then);
}
// 2^n from n + kRounder (math.h): the sum's low bits are n.
inline Vec power_of_two(Vec rounded) {
  return _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(rounded), 23), _mm512_set1_epi32(0x3f800000)));
}

// Within every 128 bits: the lower or the upper two of a and b in turns; the lower or the upper two of a, then of b.
inline Vec zip_low(Vec a, Vec b) { return _mm512_unpacklo_ps(a, b); }
inline Vec zip_high(Vec a, Vec b) { return _mm512_unpackhi_ps(a, b); }
inline Vec join_low(Vec a, Vec b) { return _mm512_shuffle_ps(a, b, 0x44); }
inline Vec join_high(Vec a, Vec b) { return _mm512_shuffle_ps(a, b, 0xee); }
template <int Quad>
void store_quad(float* to, Vec value) {
  _mm_storeu_ps(to, _mm512_extractf32x4_ps(value, Quad));
}
// The sum of the quads.
inline void store_sum_of_quads(float* to, Vec value) {
  const __m128 low = _mm_add_ps(_mm512_castps512_ps128(value), _mm512_extractf32x4_ps(value, 1));
  const __m128 high = _mm_add_ps(_mm512_extractf32x4_ps(value, 2), _mm512_extractf32x4_ps(value, 3));
  _mm_storeu_ps(to, _mm_add_ps(low, high));
}

// kLanes pairs: the low halves and the high halves of 32-bit words.
inline void widen_bfloat16_pairs(const uint16_t* from, Vec& low, Vec& high) {
  const __m512i words = _mm512_loadu_si512(from);
  low = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
  high = _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}
inline Vec widen_bfloat16(const uint16_t* from) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline Vec widen_float16(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

inline Vec widen_int8(const char* from) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

using Words = __m512i;
inline Words load_words(const char* from) { return _mm512_loadu_si512(from); }
inline void store_words(int8_t* to, Words words) { _mm512_storeu_si512(to, words); }
// The Nibble-th four bits of each word there, as a signed integer: the permutation looks at the low four bits only. A
// load from the byte of the nibble, past the end of the words if need be, saves the ports of the multipliers a shift.
template <int Nibble>
Vec widen_int4(const char* words) {
  const Vec values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
  const Words low = load_words(words + Nibble / 2);
  return _mm512_permutexvar_ps(Nibble % 2 == 0 ? low : _mm512_srli_epi32(low, 4), values);
}

inline Words all_words(int32_t value) { return _mm512_set1_epi32(value); }
inline Words broadcast_word(const int8_t* bytes) {
  int32_t word;
  __builtin_memcpy(&word, bytes, sizeof word);
  return _mm512_set1_epi32(word);
}
inline Vec to_floats(Words words) { return _mm512_cvtepi32_ps(words); }
inline Words load_bytes(const char* from) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
// Of each byte, which is less than 16, the byte at its place in the table.
inline Words look_up(const uint8_t* table, Words bytes) {
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), bytes);
}
// The low or the high half of every byte.
template <int Part>
Words nibbles_of(Words words) {
  return _mm512_and_si512(Part == 0 ? words : _mm512_srli_epi16(words, 4), _mm512_set1_epi8(0xf));
}
// sum | (words & mask)
inline Words or_masked(Words sum, Words words, Words mask) { return _mm512_ternarylogic_epi32(sum, words, mask, 0xf8); }
// acc + the products of four bytes w (not negative, or all within +-127) and four bytes x (within +-127), exactly.
#ifdef MOE_VNNI
constexpr int32_t kInt8DotOffset = 128;
inline Words int8_dot_words(Words words) { return _mm512_xor_si512(words, _mm512_set1_epi8(-128)); }
template <bool NonNegative>
Words dot(Words acc, Words w, Words x) {
  static_assert(NonNegative);
  // The intrinsic makes g++ 12 copy and spill the sums.
  asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
  return acc;
}
template <bool NonNegative>
Words dot_at(Words acc, Words w, const int8_t* x) {
  static_assert(NonNegative);
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*reinterpret_cast<const int8_t(*)[4]>(x)));
  return acc;
}
#else
constexpr int32_t kInt8DotOffset = 0;
inline Words int8_dot_words(Words words) { return words; }
template <bool NonNegative>
Words dot(Words acc, Words w, Words x) {
  if constexpr (!NonNegative) {
    x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
    w = _mm512_abs_epi8(w);
  }
  return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(w, x), _mm512_set1_epi16(1)));
}
template <bool NonNegative>
Words dot_at(Words acc, Words w, const int8_t* x) {
  return dot<NonNegative>(acc, w, broadcast_word(x));
}
#endif
