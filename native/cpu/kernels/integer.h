// Products of integers: rows quantised as weights are, dot products of four bytes at a time, one scale per row and
// group.
#pragma once

// Rows of depth in one 32-bit word of a quantised tile.
constexpr int64_t kDotRows = 4;

// The words of a panel that stand together in kRowsBytes hold kRows rows of depth; `load` gives kDotRows of them, as
// what `dot` multiplies: weight + kOffset.
struct Int8Dots {
  static constexpr int64_t kRows = kDotRows;
  static constexpr int64_t kRowsBytes = kDotRows * kPanelColumns;
  static constexpr int32_t kOffset = kInt8DotOffset;
  static constexpr bool kNonNegative = kInt8DotOffset > 0;
  template <int Part>
  static void load(const char* rows, Words (&out)[kPanelVectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) out[v] = int8_dot_words(load_words(rows + v * kLanes * 4));
  }
};

// A byte holds the weights of two rows, four apart, the first in its low half.
struct Int4Dots {
  static constexpr int64_t kRows = 2 * kDotRows;
  static constexpr int64_t kRowsBytes = kDotRows * kPanelColumns;
  static constexpr int32_t kOffset = 8;
  static constexpr bool kNonNegative = true;
  template <int Part>
  static void load(const char* rows, Words (&out)[kPanelVectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) out[v] = nibbles_of<Part>(load_words(rows + v * kLanes * 4));
  }
};

// One row of tile rows: from float tile form to integers [depth / 4][rows][4], scales [groups][rows] and, for the
// weights' offset, sums [groups][rows]. Depth is padded with zeros to a multiple of eight. A row's numbers depend on
// that row alone. A group with a number that is not finite gets the scale NaN.
inline void quantize_tile(const QuantizeTask& task) {
  constexpr int64_t kRowsAtMost = kTileRows;
  const int64_t rows = task.rows;
  for (int64_t begin = 0, group = 0; begin < task.depth; begin += task.group, ++group) {
    const int64_t end = begin + task.group < task.depth ? begin + task.group : task.depth;
    float largest[kRowsAtMost] = {}, inverse[kRowsAtMost];
    int32_t sum[kRowsAtMost] = {};
    bool finite[kRowsAtMost];
    for (int64_t i = 0; i < rows; ++i) finite[i] = true;
    for (int64_t k = begin; k < end; ++k)
      for (int64_t i = 0; i < rows; ++i) {
        const float magnitude = __builtin_fabsf(task.tile[k * rows + i]);
        finite[i] &= magnitude <= 3.4028235e38f;
        largest[i] = magnitude > largest[i] ? magnitude : largest[i];
      }
    for (int64_t i = 0; i < rows; ++i) {
      const bool some = finite[i] && largest[i] > 1e-30f;  // less is zero
      task.scales[group * rows + i] = finite[i] ? (some ? largest[i] / 127.0f : 0.0f) : __builtin_nanf("");
      inverse[i] = some ? 127.0f / largest[i] : 0.0f;
    }
    const int64_t padded = (end + 7) / 8 * 8;  // groups begin at multiples of 32
    for (int64_t k = begin; k < padded; ++k)
      for (int64_t i = 0; i < rows; ++i) {
        const float value = k < end && finite[i] ? task.tile[k * rows + i] * inverse[i] : 0.0f;
        const auto q = static_cast<int32_t>((value + kRounder) - kRounder);
        task.integers[(k / kDotRows * rows + i) * kDotRows + k % kDotRows] = static_cast<int8_t>(q);
        sum[i] += q;
      }
    for (int64_t i = 0; i < rows; ++i) task.sums[group * rows + i] = sum[i];
  }
}

template <class W, int R, int P, int Part>
[[gnu::always_inline]] inline void dot_rows(const int8_t* x, const char* panel, int64_t stride,
                                            Words (&acc)[P][R][kPanelVectors]) {
  Words w[P][kPanelVectors];
#pragma GCC unroll 64
  for (int p = 0; p < P; ++p) W::template load<Part>(panel + p * stride, w[p]);
#pragma GCC unroll 64
  for (int i = 0; i < R; ++i) {
    const Words value = broadcast_word(x + i * kDotRows);
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = dot<W::kNonNegative>(acc[p][i][v], w[p][v], value);
  }
}

// c[p][i][NR] of a tile of R rows and P panels, `stride` bytes apart: for each group in order, c = fma(sum of products,
// scale of the weights * scale of the row, c).
template <class W, int R, int P>
void dot_tile(const GemmTask& task, const char* panel, int64_t stride, int64_t row_begin, float* c) {
  const int64_t depth = (task.depth + 7) / 8 * 8, groups = (task.depth + task.group - 1) / task.group;
  const int8_t* x = task.integers + row_begin * depth;
  const float* row_scales = task.row_scales + row_begin * groups;
  const int32_t* row_sums = task.row_sums + row_begin * groups;
  for (int64_t k = 0; k < depth; k += task.group) {
    const char* const scales = panel;
    panel += Int8Weights::kScalesBytes;
    Words acc[P][R][kPanelVectors];
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
        for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = all_words(-W::kOffset * row_sums[i]);
    const int64_t rows = depth - k < task.group ? depth - k : task.group;
    int64_t row = 0;
    for (; row + W::kRows <= rows; row += W::kRows) {
#pragma GCC unroll 64
      for (int p = 0; p < P; ++p) {
#pragma GCC unroll 64
        for (int64_t byte = 0; byte < W::kRowsBytes; byte += 64)
          __builtin_prefetch(panel + p * stride + kStreamAheadBytes + byte);
      }
      dot_rows<W, R, P, 0>(x, panel, stride, acc);
      x += R * kDotRows;
      if constexpr (W::kRows > kDotRows) {
        dot_rows<W, R, P, 1>(x, panel, stride, acc);
        x += R * kDotRows;
      }
      panel += W::kRowsBytes;
    }
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p) {
      Vec scale[kPanelVectors];
      load_bfloat16(scales + p * stride, scale);
#pragma GCC unroll 64
      for (int i = 0; i < R; ++i) {
        const Vec row_scale = broadcast(row_scales[i]);
#pragma GCC unroll 64
        for (int v = 0; v < kPanelVectors; ++v) {
          float* const at = c + (p * R + i) * kPanelColumns + v * kLanes;
          store(at, fma(to_floats(acc[p][i][v]), scale[v] * row_scale, k == 0 ? zero() : load(at)));
        }
      }
    }
    row_scales += R;
    row_sums += R;
  }
}

template <class W>
int64_t dot_panel_bytes(int64_t depth, int64_t group) {
  return (depth + 7) / 8 * 8 / W::kRows * W::kRowsBytes + (depth + group - 1) / group * Int8Weights::kScalesBytes;
}

template <class W, int R>
void dot_panels(const GemmTask& task, int64_t tile_begin, Finish finish, int64_t panel_begin, int64_t panel_end) {
  const auto* const panels = static_cast<const char*>(task.panels);
  const int64_t stride = dot_panel_bytes<W>(task.depth, task.group);
  constexpr int kTogether = panels_at_once(R);
  int64_t panel = panel_begin;
  for (; panel + kTogether <= panel_end; panel += kTogether) {
    dot_tile<W, R, kTogether>(task, panels + panel * stride, stride, tile_begin, task.scratch);
    for (int64_t p = 0; p < kTogether; ++p)
      finish(task, panel + p, tile_begin, R, task.scratch + p * R * kPanelColumns);
  }
  for (; panel < panel_end; ++panel) {
    dot_tile<W, R, 1>(task, panels + panel * stride, stride, tile_begin, task.scratch);
    finish(task, panel, tile_begin, R, task.scratch);
  }
}

using DotPanels = void (*)(const GemmTask&, int64_t, Finish, int64_t, int64_t);
template <class W, int... Below>
struct DotsByRows {
  static constexpr DotPanels kDots[] = {dot_panels<W, Below + 1>...};
};
template <class W, int N, int... Below>
struct CountDotRows : CountDotRows<W, N - 1, N - 1, Below...> {};
template <class W, int... Below>
struct CountDotRows<W, 0, Below...> : DotsByRows<W, Below...> {};

// Some panels at a time meet every tile, so that they are read from memory once.
template <class W>
void integer_gemm(const GemmTask& task) {
  constexpr int64_t kPanelsAtOnce = 4;
  const Finish finish = task.epilogue == Epilogue::kNone ? finish_rows : finish_tile;
  const Tiling tiling(task.rows);
  for (int64_t panel = 0; panel < task.num_panels; panel += kPanelsAtOnce) {
    const int64_t end = panel + kPanelsAtOnce < task.num_panels ? panel + kPanelsAtOnce : task.num_panels;
    for (int64_t t = 0; t < task.num_tiles; ++t) {
      const int64_t tile = task.first_tile + t, rows = tiling.rows(tile);
      CountDotRows<W, kTileRows>::kDots[rows - 1](task, tiling.begin(tile), finish, panel, end);
    }
  }
}
