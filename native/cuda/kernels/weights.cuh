// How weights stand in packets, by type, and how a lane turns its part of a packet into operands.
//
// A packet is 16 output features x 32 inputs, in the order in which the 32 lanes of a warp read it, and for two
// multiplications of depth 16. Lane (g, t), g = lane / 4, t = lane % 4, holds in four registers of two inputs each:
// feature g, inputs 2t and 2t + 8 (and the next of each), and feature g + 8, the same inputs. So (x, y) is the 16 x 8
// operand of features 0 .. 7 and (z, w) that of features 8 .. 15, each in neighbouring registers; and (x, z, y, w) is
// the 16 x 16 operand, features as rows.
//
// A type says:
//   kBytes            of a packet
//   kPlanes           of the rows it is multiplied with: 1, or 3 where values are split into three bfloat16
//   Part              what a lane holds of a packet
//   load_global/_shared
//   operands(part, step): the four registers of one multiplication, for each plane
//   Mma
#pragma once
#include <cuda_bf16.h>

#include <cstdint>

#include "cuda/kernels/mma.cuh"

namespace moe::cuda {

// [step][lane] of 16 bytes.
template <class Multiply>
struct SixteenBits {
  using Mma = Multiply;
  static constexpr int kBytes = 1024;
  static constexpr int kPlanes = 1;
  struct Part {
    uint4 step[2];
  };
  static __device__ __forceinline__ Part load_global(const uint8_t* packet, int lane) {
    return {{load_stream(packet + lane * 16), load_stream(packet + 512 + lane * 16)}};
  }
  static __device__ __forceinline__ Part load_shared(const uint8_t* packet, int lane) {
    return {{*reinterpret_cast<const uint4*>(packet + lane * 16),
             *reinterpret_cast<const uint4*>(packet + 512 + lane * 16)}};
  }
  struct Operands {
    Wide plane[1];
  };
  static __device__ __forceinline__ Operands operands(const Part& part, int step) {
    const uint4 v = part.step[step];
    return {{{v.x, v.y, v.z, v.w}}};
  }
};
using BFloat16Weights = SixteenBits<BFloat16Mma>;
using Float16Weights = SixteenBits<Float16Mma>;

__device__ __forceinline__ uint32_t pack_bfloat16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ float low_bfloat16(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_bfloat16(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

// Two values as three pairs of bfloat16 that add up to them, largest first.
__device__ __forceinline__ void split(float a, float b, uint32_t& first, uint32_t& second, uint32_t& third) {
  first = pack_bfloat16(a, b);
  a -= low_bfloat16(first);
  b -= high_bfloat16(first);
  second = pack_bfloat16(a, b);
  third = pack_bfloat16(a - low_bfloat16(second), b - high_bfloat16(second));
}

// [step][half][lane] of four floats; half 0 is feature g, half 1 feature g + 8.
struct Float32Weights {
  using Mma = BFloat16Mma;
  static constexpr int kBytes = 2048;
  static constexpr int kPlanes = 3;
  struct Part {
    uint4 half[4];
  };
  static __device__ __forceinline__ Part load_global(const uint8_t* packet, int lane) {
    Part part;
#pragma unroll
    for (int i = 0; i < 4; ++i) part.half[i] = load_stream(packet + i * 512 + lane * 16);
    return part;
  }
  static __device__ __forceinline__ Part load_shared(const uint8_t* packet, int lane) {
    Part part;
#pragma unroll
    for (int i = 0; i < 4; ++i) part.half[i] = *reinterpret_cast<const uint4*>(packet + i * 512 + lane * 16);
    return part;
  }
  struct Operands {
    Wide plane[3];
  };
  static __device__ __forceinline__ Operands operands(const Part& part, int step) {
    const uint4 left = part.half[step * 2], right = part.half[step * 2 + 1];
    Operands out;
    split_pair(left.x, left.y, out.plane[0].x, out.plane[1].x, out.plane[2].x);
    split_pair(left.z, left.w, out.plane[0].y, out.plane[1].y, out.plane[2].y);
    split_pair(right.x, right.y, out.plane[0].z, out.plane[1].z, out.plane[2].z);
    split_pair(right.z, right.w, out.plane[0].w, out.plane[1].w, out.plane[2].w);
    return out;
  }

 private:
  static __device__ __forceinline__ void split_pair(uint32_t a, uint32_t b, uint32_t& first, uint32_t& second,
                                                    uint32_t& third) {
    split(__uint_as_float(a), __uint_as_float(b), first, second, third);
  }
};

// Scales follow the values: [g] of two bfloat16, those of features g and g + 8. A weight is q * scale, rounded once.

// [lane] of 16 bytes: q + 128 of (g, first step), (g + 8, first), (g, second), (g + 8, second), four inputs each.
struct Int8Weights {
  using Mma = BFloat16Mma;
  static constexpr int kBytes = 512 + 32;
  static constexpr int kPlanes = 1;
  struct Part {
    uint4 values;
    uint32_t scales;
  };
  static __device__ __forceinline__ Part load_global(const uint8_t* packet, int lane) {
    return {load_stream(packet + lane * 16), load_stream4(packet + 512 + (lane >> 2) * 4)};
  }
  static __device__ __forceinline__ Part load_shared(const uint8_t* packet, int lane) {
    return {*reinterpret_cast<const uint4*>(packet + lane * 16),
            *reinterpret_cast<const uint32_t*>(packet + 512 + (lane >> 2) * 4)};
  }
  struct Operands {
    Wide plane[1];
  };
  static __device__ __forceinline__ Operands operands(const Part& part, int step) {
    const uint32_t left = step == 0 ? part.values.x : part.values.z;
    const uint32_t right = step == 0 ? part.values.y : part.values.w;
    const float scale = low_bfloat16(part.scales), scale8 = high_bfloat16(part.scales);
    return {{{pair<0>(left, scale), pair<2>(left, scale), pair<0>(right, scale8), pair<2>(right, scale8)}}};
  }

 private:
  // A byte under the exponent of 2^23 is the float 2^23 + byte.
  template <int byte>
  static __device__ __forceinline__ float widen(uint32_t bytes) {
    return __uint_as_float(__byte_perm(bytes, 0x4b000000u, 0x7540 + byte)) - 8388736.0f;
  }
  template <int byte>
  static __device__ __forceinline__ uint32_t pair(uint32_t bytes, float scale) {
    return pack_bfloat16(widen<byte>(bytes) * scale, widen<byte + 1>(bytes) * scale);
  }
};

// [lane] of 8 bytes, a word per step. Nibble p and nibble p + 4 of the word are the two values, as q + 8, of register
// p.
struct Int4Weights {
  using Mma = BFloat16Mma;
  static constexpr int kBytes = 256 + 32;
  static constexpr int kPlanes = 1;
  struct Part {
    uint2 values;
    uint32_t scales;
  };
  static __device__ __forceinline__ Part load_global(const uint8_t* packet, int lane) {
    return {load_stream8(packet + lane * 8), load_stream4(packet + 256 + (lane >> 2) * 4)};
  }
  static __device__ __forceinline__ Part load_shared(const uint8_t* packet, int lane) {
    return {*reinterpret_cast<const uint2*>(packet + lane * 8),
            *reinterpret_cast<const uint32_t*>(packet + 256 + (lane >> 2) * 4)};
  }
  struct Operands {
    Wide plane[1];
  };
  static __device__ __forceinline__ Operands operands(const Part& part, int step) {
    const uint32_t word = step == 0 ? part.values.x : part.values.y;
    const uint32_t scale = __byte_perm(part.scales, 0, 0x1010), scale8 = __byte_perm(part.scales, 0, 0x3232);
    return {{{pair(word, scale), pair(word >> 4, scale), pair(word >> 8, scale8), pair(word >> 12, scale8)}}};
  }

 private:
  // A nibble in the lowest bits of the bfloat16 128 is 128 + nibble.
  static __device__ __forceinline__ uint32_t pair(uint32_t nibbles, uint32_t scale) {
    const uint32_t raised = (nibbles & 0x000f000fu) | 0x43004300u;
    return fma_pair(fma_pair(raised, 0x3f803f80u, 0xc308c308u), scale, 0x80008000u);  // (x * 1 - 136) * scale - 0
  }
  static __device__ __forceinline__ uint32_t fma_pair(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
  }
};

// One multiplication of depth 16 with all planes of rows and weights. The products too small to matter are left out,
// the others are added smallest first: which side is the wide one makes no difference to the order.
template <class Weights>
__device__ __forceinline__ void multiply_planes(float (&d)[4], const Wide (&rows)[Weights::kPlanes],
                                                const Narrow (&weights)[Weights::kPlanes]) {
  using Mma = typename Weights::Mma;
  if constexpr (Weights::kPlanes == 3) {
    Mma::multiply(d, rows[2], weights[0]);
    Mma::multiply(d, rows[0], weights[2]);
    Mma::multiply(d, rows[1], weights[1]);
    Mma::multiply(d, rows[1], weights[0]);
    Mma::multiply(d, rows[0], weights[1]);
  }
  Mma::multiply(d, rows[0], weights[0]);
}
template <class Weights>
__device__ __forceinline__ void multiply_planes(float (&d)[4], const Narrow (&rows)[Weights::kPlanes],
                                                const Wide (&weights)[Weights::kPlanes]) {
  using Mma = typename Weights::Mma;
  if constexpr (Weights::kPlanes == 3) {
    Mma::multiply(d, weights[0], rows[2]);
    Mma::multiply(d, weights[2], rows[0]);
    Mma::multiply(d, weights[1], rows[1]);
    Mma::multiply(d, weights[0], rows[1]);
    Mma::multiply(d, weights[1], rows[0]);
  }
  Mma::multiply(d, weights[0], rows[0]);
}

}  // namespace moe::cuda
