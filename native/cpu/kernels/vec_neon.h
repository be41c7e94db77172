// Four floats in a register, 32 registers: what every aarch64 has.
#pragma once

using Vec = float32x4_t;
constexpr int kLanes = 4;
constexpr int kPanelVectors = 4;
constexpr int kTileRows = 6;  // 24 accumulators, 4 weights, 2 inputs
constexpr int kDotTileRows = kTileRows;
constexpr int kStreamAccumulators = 16;  // for few rows: enough to hide the latency of fma, panels are added up to it
constexpr int64_t kWidenFloat16From = kNever;  // see weights.h
constexpr int64_t kWidenBFloat16From = kNever;

inline Vec zero() { return vdupq_n_f32(0); }
inline Vec broadcast(float value) { return vdupq_n_f32(value); }
inline Vec load(const float* from) { return vld1q_f32(from); }
inline void store(float* to, Vec value) { vst1q_f32(to, value); }
inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
inline Vec fma_at(const float* a, Vec b, Vec c) { return fma(broadcast(*a), b, c); }

// These keep NaN by themselves.
inline Vec at_least(Vec x, float limit) { return vmaxq_f32(broadcast(limit), x); }
inline Vec at_most(Vec x, float limit) { return vminq_f32(broadcast(limit), x); }
inline Vec absolute(Vec x) { return vabsq_f32(x); }
inline Vec where_negative(Vec x, Vec then, Vec otherwise) {
  return vbslq_f32(vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_f32(x), 31)), then, otherwise);
}
// 2^n from n + kRounder (math.h): the sum's low bits are n.
inline Vec power_of_two(Vec rounded) {
  return vreinterpretq_f32_s32(vaddq_s32(vshlq_n_s32(vreinterpretq_s32_f32(rounded), 23), vdupq_n_s32(0x3f800000)));
}

// The lower or the upper two of a and b in turns; the lower or the upper two of a, then of b.
inline Vec zip_low(Vec a, Vec b) { return vzip1q_f32(a, b); }
inline Vec zip_high(Vec a, Vec b) { return vzip2q_f32(a, b); }
inline Vec join_low(Vec a, Vec b) { return vcombine_f32(vget_low_f32(a), vget_low_f32(b)); }
inline Vec join_high(Vec a, Vec b) { return vcombine_f32(vget_high_f32(a), vget_high_f32(b)); }
template <int Quad>
void store_quad(float* to, Vec value) {
  store(to, value);
}
// The sum of the quads, of which there is one.
inline void store_sum_of_quads(float* to, Vec value) { store(to, value); }

// kLanes pairs: the low halves and the high halves of 32-bit words.
inline void widen_bfloat16_pairs(const uint16_t* from, Vec& low, Vec& high) {
  const uint32x4_t words = vreinterpretq_u32_u16(vld1q_u16(from));
  low = vreinterpretq_f32_u32(vshlq_n_u32(words, 16));
  high = vreinterpretq_f32_u32(vandq_u32(words, vdupq_n_u32(0xffff0000)));
}
inline Vec widen_bfloat16(const uint16_t* from) {
  return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(vld1_u16(from)), 16));
}
inline Vec widen_float16(const uint16_t* from) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from))); }

inline Vec widen_int8(const char* from) {
  const int32x2_t word = vld1_dup_s32(reinterpret_cast<const int32_t*>(from));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(word)))));
}

using Words = int32x4_t;
inline Words load_words(const char* from) { return vld1q_s32(reinterpret_cast<const int32_t*>(from)); }
inline void store_words(int8_t* to, Words words) { vst1q_s8(to, vreinterpretq_s8_s32(words)); }
// The Nibble-th four bits of each word there, as a signed integer.
template <int Nibble>
Vec widen_int4(const char* words) {
  return vcvtq_f32_s32(vshrq_n_s32(vshlq_n_s32(load_words(words), 28 - 4 * Nibble), 28));
}

inline Words all_words(int32_t value) { return vdupq_n_s32(value); }
inline Words broadcast_word(const int8_t* bytes) {
  int32_t word;
  __builtin_memcpy(&word, bytes, sizeof word);
  return vdupq_n_s32(word);
}
inline Vec to_floats(Words words) { return vcvtq_f32_s32(words); }
inline Words load_bytes(const char* from) {
  const uint32x2_t word = vld1_dup_u32(reinterpret_cast<const uint32_t*>(from));
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(word)))));
}
// Of each byte, which is less than 16, the byte at its place in the table.
inline Words look_up(const uint8_t* table, Words bytes) {
  return vreinterpretq_s32_u8(vqtbl1q_u8(vld1q_u8(table), vreinterpretq_u8_s32(bytes)));
}
// The low or the high half of every byte.
template <int Part>
Words nibbles_of(Words words) {
  const uint8x16_t bytes = vreinterpretq_u8_s32(words);
  return vreinterpretq_s32_u8(Part == 0 ? vandq_u8(bytes, vdupq_n_u8(0xf)) : vshrq_n_u8(bytes, 4));
}
constexpr int32_t kInt8DotOffset = 0;
inline Words int8_dot_words(Words words) { return words; }
// sum | (words & mask)
inline Words or_masked(Words sum, Words words, Words mask) { return sum | (words & mask); }
// acc + the products of four bytes w and four bytes x, exactly.
template <bool>
Words dot(Words acc, Words w, Words x) {
  const int8x16_t a = vreinterpretq_s8_s32(w), b = vreinterpretq_s8_s32(x);
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
  const int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(a), vget_high_s8(b)));
  return vaddq_s32(acc, vpaddq_s32(low, high));
}
template <bool NonNegative>
Words dot_at(Words acc, Words w, const int8_t* x) {
  return dot<NonNegative>(acc, w, broadcast_word(x));
}
