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
float from_float4_e2m1(uint8_t bits);  // of the low half
float from_float8_e8m0(uint8_t bits);  // 2^(bits - 127); 0xff is NaN

// Element `index` of an array of any type.
float read_float(const void* data, DType dtype, int64_t index);

// `count` values of any type as float32.
void widen(const void* from, DType dtype, int64_t count, float* to);

}  // namespace moe
