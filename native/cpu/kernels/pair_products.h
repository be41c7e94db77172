// Rows of bfloat16 times weights of bfloat16, or codes, by an instruction that adds the products of two pairs to a sum:
// first that of the upper halves, then that of the lower ones, rounded after each, subnormal numbers taken for zero. A
// sum is so made in the order of depth, as multiply_rows makes it.
#pragma once

inline Vec dot_pairs(Vec acc, Words w, Words x) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
  return acc;
}
inline Vec dot_pairs_at(Vec acc, Words w, const uint32_t* x) {
  asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*x));
  return acc;
}

// Lanes are the rows of a tile; of one row they are its numbers.
inline void pack_pairs(const PackPairsTask& task) {
  const auto bits_of = [](Vec x) { return _mm512_castps_si512(rounded_to_bfloat16(x)); };
  constexpr uint32_t kNothing = 0x8000;
  if (task.rows == 1) {
    int64_t k = 0;
    for (; k + kLanes <= task.depth; k += kLanes) {
      const __m256i halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits_of(load(task.tile + k)), 16));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(task.pairs + k / 2), _mm256_rol_epi32(halves, 16));
    }
    for (; k < task.depth; k += 2) {
      alignas(64) uint32_t two[kLanes];
      _mm512_store_si512(two, bits_of(load_part(task.tile + k, task.depth - k < 2 ? 1 : 2)));
      task.pairs[k / 2] = two[0] | (k + 1 < task.depth ? two[1] >> 16 : kNothing);
    }
    return;
  }
  const auto lanes = static_cast<__mmask16>((1u << task.rows) - 1);
  for (int64_t k = 0; k < task.depth; k += 2) {
    const float* const at = task.tile + k * task.rows;
    const Words upper = bits_of(_mm512_maskz_loadu_ps(lanes, at));
    const Words lower = k + 1 < task.depth
                            ? _mm512_srli_epi32(bits_of(_mm512_maskz_loadu_ps(lanes, at + task.rows)), 16)
                            : all_words(kNothing);
    _mm512_mask_storeu_epi32(task.pairs + k / 2 * task.rows, lanes, _mm512_or_si512(upper, lower));
  }
}

// The Pair-th two of the rows that stand together at `panel`.
template <class W, int R, int P, Fetch F, int Pair, bool Half>
[[gnu::always_inline]] inline void multiply_pair(const uint32_t* x, const char* panel, int64_t stride,
                                                 Vec (&acc)[P][R][kPanelVectors]) {
  Words w[P][kPanelVectors];
#pragma GCC unroll 64
  for (int p = 0; p < P; ++p) {
    const char* const rows = panel + p * stride;
    W::template load_pair<Pair, Half>(rows, w[p]);
    if constexpr (F == Fetch::kPanels && Pair == 0) {
#pragma GCC unroll 64
      for (int64_t byte = 0; byte < W::kRowsBytes; byte += 64) __builtin_prefetch(rows + kStreamAheadBytes + byte);
    }
  }
#pragma GCC unroll 64
  for (int i = 0; i < R; ++i) {
    if (P == 1 && i % 2 == 0) {  // as in multiply_row
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v) acc[0][i][v] = dot_pairs_at(acc[0][i][v], w[0][v], x + i);
      continue;
    }
    const Words value = all_words(static_cast<int32_t>(x[i]));
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = dot_pairs(acc[p][i][v], w[p][v], value);
  }
}

// The first `Pairs` pairs at x and panel, of rows of which the last may be alone.
template <class W, int R, int P, Fetch F, int Pairs, bool Half>
[[gnu::always_inline]] inline void multiply_some_pairs(const uint32_t* x, const char* panel, int64_t stride,
                                                       Vec (&acc)[P][R][kPanelVectors]) {
  constexpr int kTogether = W::kRows / 2;
  multiply_pair<W, R, P, F, 0, Half && Pairs == 1>(x, panel, stride, acc);
  if constexpr (Pairs > 1)
    multiply_pair<W, R, P, F, kTogether - 1, Half>(x + R, panel + (2 - kTogether) * W::kRowsBytes, stride, acc);
}

// Rows of depth between two steps of Ahead, and lines that are fetched of each of its streams meanwhile: a task of two
// tiles fetches every line once.
constexpr int kRowsOfTurn = 2 * kAheadStreams;

// acc += the `depth` rows at `panel`, which x and panel are moved past.
template <class W, int R, int P, Fetch F>
[[gnu::always_inline]] inline void multiply_pairs_of_rows(const uint32_t*& x, const char*& panel, int64_t stride,
                                                          int64_t depth, Ahead& ahead,
                                                          Vec (&acc)[P][R][kPanelVectors]) {
  constexpr int kRows = 4;
  int64_t k = 0;
  const auto multiply_four = [&](int stream) __attribute__((always_inline)) {
    if constexpr (F != Fetch::kPanels) {
      __builtin_prefetch(ahead.at + stream * ahead.stride, 0, 2);
      __builtin_prefetch(ahead.at + (stream + 1) * ahead.stride, 0, 2);
    }
    multiply_some_pairs<W, R, P, F, 2, false>(x, panel, stride, acc);
    x += kRows / 2 * R;
    panel += kRows / W::kRows * W::kRowsBytes;
    k += kRows;
  };
  while (k + kRowsOfTurn <= depth) {
    multiply_four(0);
    multiply_four(2);
    ahead.at += ahead.step;
  }
  if (k + kRows <= depth) multiply_four(0);
  const int64_t rest = depth - k;
  if (rest == 1) multiply_some_pairs<W, R, P, F, 1, true>(x, panel, stride, acc);
  if (rest == 2) multiply_some_pairs<W, R, P, F, 1, false>(x, panel, stride, acc);
  if (rest == 3) multiply_some_pairs<W, R, P, F, 2, true>(x, panel, stride, acc);
  x += (rest + 1) / 2 * R;
  panel += (rest + W::kRows - 1) / W::kRows * W::kRowsBytes;
}

// As `multiply` of tile.h.
template <class W, int R, int P, Fetch F>
void multiply_pairs(const uint32_t* x, const char* panel, int64_t stride, int64_t depth, int64_t group, float* c,
                    bool resume, const Ahead& next) {
  Ahead ahead = next;
  const auto sum_at = [c](int p, int i, int v) { return c + (p * R + i) * kPanelColumns + v * kLanes; };
  const int64_t step = W::kScaled ? group : depth;
  for (int64_t k = 0; k < depth; k += step) {
    const char* const scales = panel;
    if constexpr (W::kScaled) {
      panel += W::kScalesBytes;
      if constexpr (F == Fetch::kPanels) fetch_scales<P>(scales, stride, W::kScalesBytes);
    }
    const bool first = k == 0 && !resume;
    Vec acc[P][R][kPanelVectors];
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
        for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = W::kScaled || first ? zero() : load(sum_at(p, i, v));
    multiply_pairs_of_rows<W, R, P, F>(x, panel, stride, depth - k < step ? depth - k : step, ahead, acc);
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p) {
      Vec scale[kPanelVectors] = {};
      if constexpr (W::kScaled) W::load_scales(scales + p * stride, scale);
#pragma GCC unroll 64
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
        for (int v = 0; v < kPanelVectors; ++v) {
          float* const at = sum_at(p, i, v);
          store(at, W::kScaled ? fma(acc[p][i][v], scale[v], first ? zero() : load(at)) : acc[p][i][v]);
        }
    }
  }
}

// What a block would save is less than widening it takes.
template <class W, int R>
void stream_pairs(const GemmTask& task, const uint32_t* x, int64_t row_begin, Finish finish) {
  const int64_t stride = bytes_of<typename W::Panels>(task.depth, task.group);
  stream_side_by_side<R>(task, stride, row_begin, finish, [&](auto count, const char* panels) {
    multiply_pairs<W, R, count.value, Fetch::kPanels>(x, panels, stride, task.depth, task.group, task.scratch, false,
                                                      {});
  });
}

using StreamPairs = void (*)(const GemmTask&, const uint32_t*, int64_t, Finish);
using MultiplyPairs = void (*)(const uint32_t*, const char*, int64_t, int64_t, int64_t, float*, bool, const Ahead&);

template <class W, int... Below>
struct StreamsByRows {
  static constexpr StreamPairs kStream[] = {stream_pairs<W, Below + 1>...};
};
template <class W, int... Below>
struct PairsByRows {
  static constexpr MultiplyPairs kMultiply[] = {multiply_pairs<W, Below + 1, 1, Fetch::kAhead>...};
};
template <class W>
using PairStreams = CountRows<StreamsByRows, W, kTileRows>;
template <class W>
using PairTiles = CountRows<PairsByRows, W, kTileRows>;

constexpr int64_t kPairBlockRows = kBlockBytes / WidenedPairs<false>::kRowsBytes * 2;
constexpr int64_t kPairBlockFloats =
    (kBlockBytes + kPairBlockRows / kLeastGroup * WidenedPairs<true>::kScalesBytes) / sizeof(float);

template <class W>
void pair_gemm(const GemmTask& task) {
  const Finish finish = task.epilogue.kind == Epilogue::kNone ? finish_rows : finish_tile;
  const Tiling tiling(task.rows);
  const int64_t rows_of_first = tiling.rows(task.first_tile), pairs = pairs_of(task.depth);
  if (task.num_tiles == 1) {
    const int64_t begin = tiling.begin(task.first_tile);
    return PairStreams<W>::kStream[rows_of_first - 1](task, task.pairs + begin * pairs, begin, finish);
  }
  float* const widened = task.scratch + kPanelsTogether * kPanelSums;
  const auto open = [&](const char* panel, int64_t at, int64_t, int64_t depth) {
    widen_groups<W>(panel + at, depth, task.group, widened, widen_pairs<W>);
    return reinterpret_cast<const char*>(widened);
  };
  const auto bytes_of_rows = [&](int64_t depth) { return bytes_of<typename W::Panels>(depth, task.group); };
  constexpr int64_t kTogether = W::kScaled ? 1 : kPanelsTogether;  // as in multiply_blocked
  multiply_in_blocks<kPairBlockRows, kRowsOfTurn>(
      task, finish, kTogether, bytes_of_rows(task.depth), bytes_of_rows, open,
      [&](int64_t tile_begin, int64_t rows, int64_t k, int64_t depth, const char* block, float* c, bool resume,
          const Ahead& ahead) {
        const uint32_t* const x = task.pairs + tile_begin * pairs + k / 2 * rows;
        PairTiles<WidenedPairs<W::kScaled>>::kMultiply[rows - 1](x, block, 0, depth, task.group, c, resume, ahead);
      });
}

bool supported() { return MOE_CPU_HAS_IT; }

}  // namespace

const PairKernels pair_table = {
    .name = MOE_TEXT(MOE_ISA),
    .beside = "avx512vnni",
    .supported = supported,
    .scratch_floats = kPanelsTogether * kPanelSums + kPairBlockFloats,
    .pack_pairs = pack_pairs,
    .gemm = {nullptr, pair_gemm<BFloat16Pairs>, nullptr, pair_gemm<Int8Pairs>, pair_gemm<Int4Pairs>, nullptr, nullptr,
             nullptr, nullptr},
};

#include "cpu/kernels/close.h"
