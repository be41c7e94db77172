// Four floats in a register, 32 registers: what every aarch64 has.
#pragma once

using Vec = float32x4_t;
constexpr int kLanes = 4;
constexpr int kPanelVectors = 4;
constexpr int kTileRows = 6;             // 24 accumulators, 4 weights, 2 inputs
constexpr int kStreamAccumulators = 16;  // for few rows: enough to hide the latency of fma, panels are added up to it
constexpr int64_t kWidenFloat16From = kNever;  // see weights.h

inline Vec zero() { return vdupq_n_f32(0); }
inline Vec broadcast(float value) { return vdupq_n_f32(value); }
inline Vec load(const float* from) { return vld1q_f32(from); }
inline void store(float* to, Vec value) { vst1q_f32(to, value); }
inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }

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

// kLanes pairs: the low halves and the high halves of 32-bit words.
inline void widen_bfloat16_pairs(const uint16_t* from, Vec& low, Vec& high) {
  const uint32x4_t words = vreinterpretq_u32_u16(vld1q_u16(from));
  low = vreinterpretq_f32_u32(vshlq_n_u32(words, 16));
  high = vreinterpretq_f32_u32(vandq_u32(words, vdupq_n_u32(0xffff0000)));
}
inline Vec widen_float16(const uint16_t* from) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from))); }

inline Vec widen_int8(const char* from) {
  const int32x2_t word = vld1_dup_s32(reinterpret_cast<const int32_t*>(from));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(word)))));
}

using Words = int32x4_t;
inline Words load_words(const char* from) { return vld1q_s32(reinterpret_cast<const int32_t*>(from)); }
// The Nibble-th four bits of each word, as a signed integer.
template <int Nibble>
Vec widen_int4(Words words) {
  return vcvtq_f32_s32(vshrq_n_s32(vshlq_n_s32(words, 28 - 4 * Nibble), 28));
}
