// Products of int8 rows with integer weights, two rows and two columns at a time. A panel's words are
// zipped in registers, in 8 of the 59 instructions that eight inputs of six rows and a panel take (NEON's own: 402), so
// an order of panels of its own would gain little.
#pragma once

inline bool has_i8mm() {
  constexpr unsigned long kI8mm = 1ul << 13;  // of what Linux tells of the CPU
  return (getauxval(AT_HWCAP2) & kI8mm) != 0;
}

constexpr int kInputs = 8;  // at a time

// acc + {r0 * c0, r0 * c1, r1 * c0, r1 * c1} of two rows and two columns of eight inputs. Some compilers have its
// intrinsic only where all of a file may use the instruction.
inline Words dot_two(Words acc, Words rows, Words columns) {
  asm("smmla %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(rows), "w"(columns));
  return acc;
}

inline Words two_rows(const int8_t* first, const int8_t* second) {
  return vreinterpretq_s32_s8(vcombine_s8(vld1_s8(first), vld1_s8(second)));
}

// Four columns of eight inputs, as signed bytes: the first four inputs of each, and the others.
template <class W>
[[gnu::always_inline]] inline void load_columns(const char* rows, Words& first, Words& second) {
  if constexpr (W::kRows == kInputs) {
    const auto signed_of = [](Words words) {
      return vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_s32(words), vdupq_n_s8(W::kOffset)));
    };
    const Words both = load_words(rows);
    first = signed_of(nibbles_of<0>(both));
    second = signed_of(nibbles_of<1>(both));
  } else {
    first = load_words(rows);
    second = load_words(rows + W::kRowsBytes);
  }
}

// The next eight inputs of R rows and a panel.
template <class W, int R>
[[gnu::always_inline]] inline void dot_eight(const int8_t* x, int64_t row_bytes, const char* panel,
                                             Words (&acc)[(R + 1) / 2][2 * kPanelVectors]) {
  constexpr int kPairs = (R + 1) / 2;
  Words rows[kPairs];
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
    const int8_t* const first = x + 2 * p * row_bytes;
    rows[p] = two_rows(first, 2 * p + 1 < R ? first + row_bytes : first);
  }
#pragma GCC unroll 8
  for (int v = 0; v < kPanelVectors; ++v) {
    Words first, second;
    load_columns<W>(panel + v * kLanes * kDotRows, first, second);
    const Words low = vzip1q_s32(first, second), high = vzip2q_s32(first, second);
#pragma GCC unroll 8
    for (int p = 0; p < kPairs; ++p) {
      acc[p][2 * v] = dot_two(acc[p][2 * v], rows[p], low);
      acc[p][2 * v + 1] = dot_two(acc[p][2 * v + 1], rows[p], high);
    }
  }
}

// How a group joins those before: as in add_products.
template <int R>
[[gnu::always_inline]] inline void add_two_by_two(const Words (&acc)[(R + 1) / 2][2 * kPanelVectors],
                                                  const char* scales, const float* row_scales, int64_t groups,
                                                  bool first, float* c) {
  Vec scale[kPanelVectors];
  load_bfloat16(scales, scale);
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    const Vec row_scale = broadcast(row_scales[i * groups]);
#pragma GCC unroll 8
    for (int v = 0; v < kPanelVectors; ++v) {
      const Vec left = vreinterpretq_f32_s32(acc[i / 2][2 * v]), right = vreinterpretq_f32_s32(acc[i / 2][2 * v + 1]);
      const Words sum = vreinterpretq_s32_f32(i % 2 == 0 ? join_low(left, right) : join_high(left, right));
      float* const at = c + i * kPanelColumns + v * kLanes;
      store(at, fma(to_floats(sum), scale[v] * row_scale, first ? zero() : load(at)));
    }
  }
}

constexpr int64_t kInputsPerTurn = kAheadStreams * kInputs;

// c[i][NR] of a tile of R rows and a panel, as dot_block.
template <class W, int R>
void multiply_by_two(LaidRows x, const char* panel, int64_t depth, int64_t group, float* c, bool resume,
                     const Ahead& next) {
  constexpr int64_t kBytes = kInputs / W::kRows * W::kRowsBytes;
  Ahead ahead = next;
  for (int64_t k = 0; k < depth; k += group, ++x.scales) {
    const char* const scales = panel;
    panel += Int8Weights::kScalesBytes;
    Words acc[(R + 1) / 2][2 * kPanelVectors];
#pragma GCC unroll 8
    for (auto& pair : acc)
#pragma GCC unroll 8
      for (Words& sums : pair) sums = all_words(0);
    const int64_t here = depth - k < group ? depth - k : group;
    for (int64_t row = 0; row < here; row += kInputs, panel += kBytes, x.integers += kInputs) {
      if (row % kInputsPerTurn == 0) fetch_ahead(ahead);
      dot_eight<W, R>(x.integers, x.row_bytes, panel, acc);
    }
    add_two_by_two<R>(acc, scales, x.scales, x.groups, k == 0 && !resume, c);
  }
}

using MultiplyByTwo = void (*)(LaidRows, const char*, int64_t, int64_t, float*, bool, const Ahead&);
template <class W, int... Below>
struct ByTwoOfRows {
  static constexpr MultiplyByTwo kMultiply[] = {multiply_by_two<W, Below + 1>...};
};

template <class W>
void i8mm_gemm(const GemmTask& task) {
  const Finish finish = task.epilogue.kind == Epilogue::kNone ? finish_rows : finish_tile;
  constexpr int64_t kDepthBlock = kBlockBytes * W::kRows / W::kRowsBytes;
  const auto bytes_of_rows = [&](int64_t depth) { return dot_bytes<W>(depth, task.group); };
  multiply_in_blocks<kDepthBlock, kInputsPerTurn>(
      task, finish, kPanelsTogether, bytes_of_rows(task.depth), bytes_of_rows,
      [](const char* panel, int64_t at, int64_t, int64_t) { return panel + at; },
      [&](int64_t tile_begin, int64_t rows, int64_t k, int64_t depth, const char* block, float* c, bool resume,
          const Ahead& ahead) {
        CountRows<ByTwoOfRows, W, kTileRows>::kMultiply[rows - 1](laid_rows_at(task, tile_begin, k), block, depth,
                                                                  task.group, c, resume, ahead);
      });
}

bool supported() { return MOE_CPU_HAS_IT; }

}  // namespace

const DotKernels dot_table = {
    .name = MOE_TEXT(MOE_ISA),
    .beside = MOE_TEXT(MOE_BESIDE),
    .supported = supported,
    .least_rows = 1,  // a row alone takes less than half the instructions, too
    .scratch_floats = kPanelsTogether * kPanelSums,
    .quantize_tile = quantize_laid,
    .gemm = {nullptr, nullptr, nullptr, nullptr, nullptr, i8mm_gemm<Int8Dots>, i8mm_gemm<Int4Dots>, nullptr, nullptr},
};

#include "cpu/kernels/close.h"
