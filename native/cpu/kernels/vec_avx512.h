// Sixteen floats in a register, 32 registers.
#pragma once

using Vec = __m512;
constexpr int kLanes = 16;
constexpr int kPanelVectors = 2;
constexpr int kTileRows = 12;             // 24 accumulators, 2 weights, 1 input
constexpr int kStreamAccumulators = 16;   // for few rows: enough to hide the latency of fma, panels are added up to it
constexpr int64_t kWidenFloat16From = 6;  // see weights.h

inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec broadcast(float value) { return _mm512_set1_ps(value); }
inline Vec load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Vec value) { _mm512_storeu_ps(to, value); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }

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

// kLanes pairs: the low halves and the high halves of 32-bit words.
inline void widen_bfloat16_pairs(const uint16_t* from, Vec& low, Vec& high) {
  const __m512i words = _mm512_loadu_si512(from);
  low = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
  high = _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}
inline Vec widen_float16(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

inline Vec widen_int8(const char* from) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

using Words = __m512i;
inline Words load_words(const char* from) { return _mm512_loadu_si512(from); }
// The Nibble-th four bits of each word, as a signed integer: the permutation looks at the low four bits only.
template <int Nibble>
Vec widen_int4(Words words) {
  const Vec values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
  return _mm512_permutexvar_ps(_mm512_srli_epi32(words, 4 * Nibble), values);
}
