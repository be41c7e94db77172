// How two rows of weights become words of two bfloat16 numbers: row k in the upper half, row k + 1 in the lower. They
// are read from the panels that weights.h describes, or from a block that was widened before.
#pragma once

// kRows rows of depth stand together in kRowsBytes, and `load` takes the Pair-th two of them; Half: the first one
// alone, beside a zero. Panels: whose rows they are.

// Takes the lower halves from b, the upper ones from a.
inline Words upper_and_lower(Words a, Words b) { return _mm512_mask_blend_epi16(0xaaaaaaaa, b, a); }

// A number that bfloat16 holds leaves the lower half of its word empty.
inline Words pair_of(Vec a, Vec b) {
  return _mm512_or_si512(_mm512_castps_si512(a), _mm512_srli_epi32(_mm512_castps_si512(b), 16));
}

struct BFloat16Pairs : BFloat16Weights {
  using Panels = BFloat16Weights;
  static constexpr int kRows = 2;
  static constexpr int64_t kRowsBytes = 2 * BFloat16Weights::kRowsBytes;
  template <int, bool Half>
  static void load_pair(const char* rows, Words (&out)[kPanelVectors]) {
    const Words a = load_words(rows);  // two columns of row k
    const Words b = Half ? all_words(0) : load_words(rows + BFloat16Weights::kRowsBytes);
    out[0] = upper_and_lower(_mm512_slli_epi32(a, 16), b);
    out[1] = upper_and_lower(a, _mm512_srli_epi32(b, 16));
  }
};

struct Int8Pairs : Int8Weights {
  using Panels = Int8Weights;
  static constexpr int kRows = 2;
  static constexpr int64_t kRowsBytes = 2 * Int8Weights::kRowsBytes;
  template <int, bool Half>
  static void load_pair(const char* rows, Words (&out)[kPanelVectors]) {
#pragma GCC unroll 2
    for (int v = 0; v < kPanelVectors; ++v)
      out[v] = pair_of(widen_int8(rows + v * kLanes),
                       Half ? zero() : widen_int8(rows + Int8Weights::kRowsBytes + v * kLanes));
  }
};

// Zeros stand behind the last row.
struct Int4Pairs : Int4Weights {
  using Panels = Int4Weights;
  template <int Pair, bool Half>
  static void load_pair(const char* rows, Words (&out)[kPanelVectors]) {
    constexpr int kNibble = 2 * Pair * kPanelVectors;
    out[0] = pair_of(widen_int4<kNibble>(rows), widen_int4<kNibble + kPanelVectors>(rows));
    out[1] = pair_of(widen_int4<kNibble + 1>(rows), widen_int4<kNibble + kPanelVectors + 1>(rows));
  }
};

// What a block is widened into: words, and the scales of integers as float32.
template <bool Scaled>
struct WidenedPairs {
  static constexpr bool kScaled = Scaled;
  static constexpr int kRows = 2;
  static constexpr int64_t kRowsBytes = kPanelColumns * sizeof(uint32_t);
  static constexpr int64_t kScalesBytes = kPanelColumns * sizeof(float);
  template <int, bool>
  static void load_pair(const char* rows, Words (&out)[kPanelVectors]) {
#pragma GCC unroll 2
    for (int v = 0; v < kPanelVectors; ++v) out[v] = load_words(rows + v * kLanes * 4);
  }
  static void load_scales(const char* scales, Vec (&out)[kPanelVectors]) { Float32Weights::load<0>(scales, out); }
};

// `depth` rows as words, and the position behind them.
template <class W>
float* widen_pairs(const char*& rows, int64_t depth, float* out) {
  const auto put = [&](const Words(&pair)[kPanelVectors]) {
    for (int v = 0; v < kPanelVectors; ++v, out += kLanes) _mm512_storeu_si512(out, pair[v]);
  };
  Words pair[kPanelVectors];
  int64_t k = 0;
  for (; k + W::kRows <= depth; k += W::kRows, rows += W::kRowsBytes) {
    W::template load_pair<0, false>(rows, pair);
    put(pair);
    if constexpr (W::kRows > 2) {
      W::template load_pair<1, false>(rows, pair);
      put(pair);
    }
  }
  if (k == depth) return out;
  if (depth - k == 1) {
    W::template load_pair<0, true>(rows, pair);
    put(pair);
  } else {
    W::template load_pair<0, false>(rows, pair);
    put(pair);
    if (depth - k == 3) {
      W::template load_pair<1, true>(rows, pair);
      put(pair);
    }
  }
  rows += W::kRowsBytes;
  return out;
}
