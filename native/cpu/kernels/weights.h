// How a panel's row of weights becomes float32 registers, one struct per weight type. Packing (packed_matrix.cc) lays
// the columns out as `load` expects them.
#pragma once

constexpr int kPanelColumns = kPanelVectors * kLanes;

// kWidenFrom: from this many tiles on, a panel's block is widened once into scratch; below, every tile widens it again
// in registers.

struct Float32Weights {
  using Element = float;
  static constexpr int64_t kWidenFrom = kNever;
  static void load(const float* from, Vec (&out)[kPanelVectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) out[v] = moe::cpu::MOE_ISA::load(from + v * kLanes);
  }
};

// Columns l and kLanes + l of two registers share a 32-bit word: one load, a shift and a mask widen both.
struct BFloat16Weights {
  using Element = uint16_t;
  static constexpr int64_t kWidenFrom = kNever;
  static void load(const uint16_t* from, Vec (&out)[kPanelVectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; v += 2) widen_bfloat16_pairs(from + v * kLanes, out[v], out[v + 1]);
  }
};

struct Float16Weights {
  using Element = uint16_t;
  static constexpr int64_t kWidenFrom = kWidenFloat16From;
  static void load(const uint16_t* from, Vec (&out)[kPanelVectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) out[v] = widen_float16(from + v * kLanes);
  }
};
