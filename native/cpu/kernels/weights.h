// How a panel's rows of weights become float32 registers, one struct per weight type. Packing (cpu/weights.cc) lays
// the columns out as `load` expects them.
#pragma once

constexpr int kPanelColumns = kPanelVectors * kLanes;

// kWidenFrom: from this many tiles on, a panel's block is widened once into scratch; below, every tile widens it again
// in registers.
// kRows rows of depth stand together in kRowsBytes, and `load` takes one of them.
// kScaled: the rows are integers in groups, and each group stands behind its scales.

struct Float32Weights {
  static constexpr bool kScaled = false;
  static constexpr int kRows = 1;
  static constexpr int64_t kRowsBytes = kPanelColumns * sizeof(float);
  static constexpr int64_t kWidenFrom = kNever;
  template <int Row>
  static void load(const char* rows, Vec (&out)[kPanelVectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v)
      out[v] = moe::cpu::MOE_ISA::load(reinterpret_cast<const float*>(rows) + v * kLanes);
  }
};

// Columns l and kLanes + l of two registers share a 32-bit word: one load, a shift and a mask widen both.
inline void load_bfloat16(const char* from, Vec (&out)[kPanelVectors]) {
#pragma GCC unroll 4
  for (int v = 0; v < kPanelVectors; v += 2)
    widen_bfloat16_pairs(reinterpret_cast<const uint16_t*>(from) + v * kLanes, out[v], out[v + 1]);
}

struct BFloat16Weights {
  static constexpr bool kScaled = false;
  static constexpr int kRows = 1;
  static constexpr int64_t kRowsBytes = kPanelColumns * sizeof(uint16_t);
  static constexpr int64_t kWidenFrom = kWidenBFloat16From;
  template <int Row>
  static void load(const char* rows, Vec (&out)[kPanelVectors]) {
    load_bfloat16(rows, out);
  }
};

struct Float16Weights {
  static constexpr bool kScaled = false;
  static constexpr int kRows = 1;
  static constexpr int64_t kRowsBytes = kPanelColumns * sizeof(uint16_t);
  static constexpr int64_t kWidenFrom = kWidenFloat16From;
  template <int Row>
  static void load(const char* rows, Vec (&out)[kPanelVectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v)
      out[v] = widen_float16(reinterpret_cast<const uint16_t*>(rows) + v * kLanes);
  }
};

struct Int8Weights {
  static constexpr bool kScaled = true;
  static constexpr int kRows = 1;
  static constexpr int64_t kRowsBytes = kPanelColumns;
  static constexpr int64_t kScalesBytes = kPanelColumns * sizeof(uint16_t);
  static constexpr int64_t kWidenFrom = 2;
  template <int Row>
  static void load(const char* rows, Vec (&out)[kPanelVectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) out[v] = widen_int8(rows + v * kLanes);
  }
  static void load_scales(const char* scales, Vec (&out)[kPanelVectors]) { load_bfloat16(scales, out); }
};

// A 32-bit word holds eight weights of a lane, lowest bits first: those of row 0 in each register, of row 1, ...
struct Int4Weights {
  static constexpr bool kScaled = true;
  static constexpr int kRows = 8 / kPanelVectors;
  static constexpr int64_t kRowsBytes = kLanes * 4;
  static constexpr int64_t kScalesBytes = kPanelColumns * sizeof(uint16_t);
  static constexpr int64_t kWidenFrom = 2;
  template <int Row>
  static void load(const char* rows, Vec (&out)[kPanelVectors]) {
    out[0] = widen_int4<Row * kPanelVectors>(rows);
    out[1] = widen_int4<Row * kPanelVectors + 1>(rows);
    if constexpr (kPanelVectors == 4) {
      out[2] = widen_int4<Row * kPanelVectors + 2>(rows);
      out[3] = widen_int4<Row * kPanelVectors + 3>(rows);
    }
  }
  static void load_scales(const char* scales, Vec (&out)[kPanelVectors]) { load_bfloat16(scales, out); }
};

// Integers and scales as float32: what a block is widened into.
struct WidenedIntegers {
  static constexpr bool kScaled = true;
  static constexpr int kRows = 1;
  static constexpr int64_t kRowsBytes = kPanelColumns * sizeof(float);
  static constexpr int64_t kScalesBytes = kRowsBytes;
  template <int Row>
  static void load(const char* rows, Vec (&out)[kPanelVectors]) {
    Float32Weights::load<0>(rows, out);
  }
  static void load_scales(const char* scales, Vec (&out)[kPanelVectors]) { Float32Weights::load<0>(scales, out); }
};

// Bytes of `depth` rows of a panel from the begin of a group on.
template <class W>
int64_t bytes_of(int64_t depth, int64_t group) {
  const auto rows_bytes = [](int64_t rows) { return (rows + W::kRows - 1) / W::kRows * W::kRowsBytes; };
  if constexpr (W::kScaled) {
    const int64_t full = depth / group, rest = depth % group;
    return full * (W::kScalesBytes + rows_bytes(group)) + (rest > 0 ? W::kScalesBytes + rows_bytes(rest) : 0);
  } else {
    return rows_bytes(depth);
  }
}
