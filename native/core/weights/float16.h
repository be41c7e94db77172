// Small floats to and from float32, one value at a time. Kernels have their own vector forms.
#pragma once
#include <bit>
#include <cstdint>

#include "core/tensor.h"

namespace moe {

inline float from_bfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// Rounds to nearest, ties to even; NaN stays NaN.
uint16_t to_bfloat16(float value);
float from_float16(uint16_t bits);
// Rounds to nearest, ties to even; beyond 65504 gives infinity.
uint16_t to_float16(float value);

float from_float8_e4m3(uint8_t bits);  // no infinities; 0x7f and 0xff are NaN
// Of the low half.
inline float from_float4_e2m1(uint8_t bits) {
  constexpr float kNumbers[] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
  return kNumbers[bits & 15];
}
float from_float8_e8m0(uint8_t bits);  // 2^(bits - 127); 0xff is NaN

// Elements first, first + step, ... of an array of any floats, `count` of them, into to[0], to[to_step], ...
void read_floats(const void* data, DType dtype, int64_t first, int64_t step, int64_t count, float* to,
                 int64_t to_step = 1);

inline float read_float(const void* data, DType dtype, int64_t index) {
  float value;
  read_floats(data, dtype, index, 1, 1, &value);
  return value;
}

}  // namespace moe
