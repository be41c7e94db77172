// Eight floats in a register, 16 registers.
#pragma once

using Vec = __m256;
constexpr int kLanes = 8;
constexpr int kPanelVectors = 2;
constexpr int kTileRows = 6;  // 12 accumulators, 2 weights, 1 input
constexpr int kDotTileRows = kTileRows;
constexpr int kStreamAccumulators = 8;    // for few rows: enough to hide the latency of fma, panels are added up to it
constexpr int64_t kWidenFloat16From = 4;  // see weights.h
constexpr int64_t kWidenBFloat16From = 4;

// __builtin_cpu_supports of clang does not know it.
inline bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec broadcast(float value) { return _mm256_set1_ps(value); }
inline Vec load(const float* from) { return _mm256_loadu_ps(from); }
inline void store(float* to, Vec value) { _mm256_storeu_ps(to, value); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec fma_at(const float* a, Vec b, Vec c) { return fma(broadcast(*a), b, c); }

// The second operand comes back when one is NaN: NaN in x stays.
inline Vec at_least(Vec x, float limit) { return _mm256_max_ps(broadcast(limit), x); }
inline Vec at_most(Vec x, float limit) { return _mm256_min_ps(broadcast(limit), x); }
inline Vec absolute(Vec x) { return _mm256_andnot_ps(broadcast(-0.0f), x); }
inline Vec where_negative(Vec x, Vec then, Vec otherwise) { return _mm256_blendv_ps(otherwise, then, x); }
// 2^n from n + kRounder (math.h): the sum's low bits are n.
inline Vec power_of_two(Vec rounded) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(rounded), 23), _mm256_set1_epi32(0x3f800000)));
}

// Within every 128 bits: the lower or the upper two of a and b in turns; the lower or the upper two of a, then of b.
inline Vec zip_low(Vec a, Vec b) { return _mm256_unpacklo_ps(a, b); }
inline Vec zip_high(Vec a, Vec b) { return _mm256_unpackhi_ps(a, b); }
inline Vec join_low(Vec a, Vec b) { return _mm256_shuffle_ps(a, b, 0x44); }
inline Vec join_high(Vec a, Vec b) { return _mm256_shuffle_ps(a, b, 0xee); }
template <int Quad>
void store_quad(float* to, Vec value) {
  _mm_storeu_ps(to, _mm256_extractf128_ps(value, Quad));
}
// The sum of the quads.
inline void store_sum_of_quads(float* to, Vec value) {
  _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1)));
}

// kLanes pairs: the low halves and the high halves of 32-bit words.
inline void widen_bfloat16_pairs(const uint16_t* from, Vec& low, Vec& high) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  low = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
  high = _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0xffff0000))));
}
inline Vec widen_bfloat16(const uint16_t* from) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
inline Vec widen_float16(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

inline Vec widen_int8(const char* from) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}

using Words = __m256i;
inline Words load_words(const char* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
inline void store_words(int8_t* to, Words words) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), words); }
// The Nibble-th four bits of each word there, as a signed integer. They become the last bits of the mantissa of 2^(23 -
// 4 n), where they stand, so that a subtraction leaves their value: that takes less of the multipliers' ports than to
// shift and to convert.
template <int Nibble>
Vec widen_int4(const char* words) {
  constexpr int kInMantissa = 5;
  constexpr int n = Nibble % kInMantissa;
  constexpr int32_t kExponent = (127 + 23 - 4 * n) << 23, kSign = 8 << 4 * n;
  Words low = load_words(words);
  if constexpr (Nibble >= kInMantissa) low = _mm256_srli_epi32(low, 4 * kInMantissa);
  low = _mm256_xor_si256(_mm256_and_si256(low, _mm256_set1_epi32(0xf << 4 * n)), _mm256_set1_epi32(kExponent | kSign));
  return _mm256_sub_ps(_mm256_castsi256_ps(low), broadcast(static_cast<float>((1 << (23 - 4 * n)) + 8)));
}

inline Words all_words(int32_t value) { return _mm256_set1_epi32(value); }
inline Words broadcast_word(const int8_t* bytes) {
  int32_t word;
  __builtin_memcpy(&word, bytes, sizeof word);
  return _mm256_set1_epi32(word);
}
inline Vec to_floats(Words words) { return _mm256_cvtepi32_ps(words); }
inline Words load_bytes(const char* from) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}
// Of each byte, which is less than 16, the byte at its place in the table.
inline Words look_up(const uint8_t* table, Words bytes) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))),
                             bytes);
}
// The low or the high half of every byte.
template <int Part>
Words nibbles_of(Words words) {
  return _mm256_and_si256(Part == 0 ? words : _mm256_srli_epi16(words, 4), _mm256_set1_epi8(0xf));
}
constexpr int32_t kInt8DotOffset = 0;
inline Words int8_dot_words(Words words) { return words; }
// sum | (words & mask)
inline Words or_masked(Words sum, Words words, Words mask) { return sum | (words & mask); }
// acc + the products of four bytes w (up to 15 and not negative, or all within +-127) and four bytes x (within +-127).
// Exact: two products of 127 * 127 stay within 16 bits.
template <bool NonNegative>
Words dot(Words acc, Words w, Words x) {
  if constexpr (!NonNegative) {
    x = _mm256_sign_epi8(x, w);
    w = _mm256_abs_epi8(w);
  }
  return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
template <bool NonNegative>
Words dot_at(Words acc, Words w, const int8_t* x) {
  return dot<NonNegative>(acc, w, broadcast_word(x));
}
