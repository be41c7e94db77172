// The activations of an expert, by the formulas of the CPU's kernels (native/cpu/kernels/math.h, activation.h).
// NaN in gives NaN out.
#pragma once
#include <cstdint>

#include "cuda/kernels/tasks.h"

namespace moe::cuda {

__host__ __device__ constexpr bool has_gate(int32_t activation) {
  return activation <= static_cast<int32_t>(DeviceActivation::kGeGLUTanh);
}

// Unlike fmin and fmax these keep NaN.
__device__ __forceinline__ float at_most(float x, float bound) { return x > bound ? bound : x; }
__device__ __forceinline__ float at_least(float x, float bound) { return x < bound ? bound : x; }

// How exponentials and quotients are computed. Exact: e^x within 2 ulp; above 88.72 infinity, below -103.97 zero,
// subnormal results included.
struct Exact {
  static __device__ __forceinline__ float exponential(float x) {
    constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
    x = at_least(at_most(x, 89.0f), -105.0f);
    // x = 2n ln2 + r with |r| <= ln2.
    const float rounded = fmaf(x, 0.72134752f, kRounder);
    const float n = rounded - kRounder;
    float r = fmaf(n, -1.38671875f, x);
    r = fmaf(n, 4.2438888e-4f, r);
    float p = 2.443981e-05f;
    p = fmaf(p, r, 0.00020110069f);
    p = fmaf(p, r, 0.0013893711f);
    p = fmaf(p, r, 0.008332526f);
    p = fmaf(p, r, 0.041666526f);
    p = fmaf(p, r, 0.16666675f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p * r, r, r) + 1.0f;
    const float scale = __uint_as_float((__float_as_uint(rounded) - __float_as_uint(kRounder) + 127u) << 23);
    return p * scale * scale;
  }
  static __device__ __forceinline__ float reciprocal(float x) { return 1.0f / x; }
};

// Within about 2^-20, for results that are rounded to 16 bits: the multiprocessor's own functions.
struct Fast {
  static __device__ __forceinline__ float exponential(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.44269504f));
    return y;
  }
  static __device__ __forceinline__ float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
};

template <class Functions>
__device__ __forceinline__ float sigmoid(float x) {
  const float e = Functions::exponential(-fabsf(x));
  return (x < 0.0f ? e : 1.0f) * Functions::reciprocal(1.0f + e);
}

// The normal distribution, erfc(-x / sqrt(2)) / 2.
template <class Functions>
__device__ __forceinline__ float normal_cdf(float x) {
  const float z = fabsf(x) * 0.70710678f;
  const float t = Functions::reciprocal(fmaf(z, 0.45f, 1.0f));
  float p = -0.020699872f;
  p = fmaf(p, t, 0.09536272f);
  p = fmaf(p, t, -0.15032539f);
  p = fmaf(p, t, 0.07123415f);
  p = fmaf(p, t, -0.011198513f);
  p = fmaf(p, t, 0.059981998f);
  p = fmaf(p, t, 0.0876247f);
  p = fmaf(p, t, 0.114135966f);
  p = fmaf(p, t, 0.12694158f);
  p = fmaf(p, t, 0.12694266f);
  const float tail = p * t * Functions::exponential(-(z * z));
  return x < 0.0f ? tail : 1.0f - tail;
}

// Every activation with a sigmoid or a normal distribution is 0 in float32 well before this: cutting here keeps
// -infinity from meeting that 0.
constexpr float kLowest = -110.0f;

template <class Functions>
__device__ __forceinline__ float swiglu(float gate, float up) {
  gate = at_least(gate, kLowest);
  return gate * sigmoid<Functions>(gate) * up;
}

// `gate` is not looked at when the activation has none. Cases share code: this is inlined many times.
template <class Functions>
__device__ __forceinline__ float activate(const GemmTask& task, float gate, float up) {
  const auto kind = static_cast<DeviceActivation>(task.activation);
  if (kind == DeviceActivation::kReLU || kind == DeviceActivation::kReLU2) {
    const float positive = at_least(up, 0.0f);
    return kind == DeviceActivation::kReLU ? positive : positive * positive;
  }
  const ClampedSwiGLU& by = task.clamped;
  const bool clamped = kind == DeviceActivation::kClampedSwiGLU, gated = has_gate(task.activation);
  float x = gated ? gate : up;
  if (clamped) x = at_most(x, by.most_gate);
  x = at_least(x, clamped ? by.lowest_gate : kLowest);
  float product;
  if (kind == DeviceActivation::kGeGLU || kind == DeviceActivation::kGELU) {
    product = x * normal_cdf<Functions>(x);
  } else {
    float steep = x;
    if (clamped) steep = x * by.alpha;
    if (kind == DeviceActivation::kGeGLUTanh || kind == DeviceActivation::kGELUTanh)
      steep = x * fmaf(x * x, 0.0713548163f, 1.59576912f);
    product = x * sigmoid<Functions>(steep);
  }
  if (!gated) return product;
  if (!clamped) return product * up;
  return at_most(product, by.most_product) * (at_least(at_most(up, by.most_up), -by.most_up) + by.up_shift);
}

}  // namespace moe::cuda
