// Quantised rows whose integers stand together, as instructions that multiply whole matrices read them.
#pragma once

constexpr int64_t kMostGroup = 256;

// Asks for every line that a turn is to bring.
[[gnu::always_inline]] inline void fetch_ahead(Ahead& ahead) {
  for (int64_t byte = 0; byte < ahead.step; byte += 64)
#pragma GCC unroll 4
    for (int stream = 0; stream < kAheadStreams; ++stream)
      __builtin_prefetch(ahead.at + stream * ahead.stride + byte, 0, 2);
  ahead.at += ahead.step;
}

// Four rows of words [words][rows] at a time become columns: out[i * row_bytes + 4 * w] = word w of row i.
inline void lay_words(const float* words, int64_t count, int64_t rows, int64_t row_bytes, int8_t* out) {
  for (int64_t w = 0; w < count; w += 4)
    for (int64_t first = 0; first < rows; first += kLanes) {
      const float* const from = words + w * rows + first;
      const Vec a = load(from), b = load(from + rows), c = load(from + 2 * rows), d = load(from + 3 * rows);
      float columns[kLanes][4];
      store_columns(columns[0], 4, zip_low(a, b), zip_high(a, b), zip_low(c, d), zip_high(c, d));
      for (int64_t i = 0; i < kLanes && first + i < rows; ++i)
        __builtin_memcpy(out + (first + i) * row_bytes + w * kDotRows, columns[i], sizeof columns[i]);
    }
}

// The numbers of quantize_tile, as DotKernels has them.
inline void quantize_laid(const QuantizeTask& task) {
  const int64_t rows = task.rows, row_bytes = dot_row_bytes(task.depth);
  const int64_t groups = (task.depth + task.group - 1) / task.group;
  // What is read behind the last word is not looked at, or zeroed below.
  float words[(kMostGroup / kDotRows + 4) * kTileRows + kLanes];
  float scales[kTileRows + kLanes];
  int32_t starts[kTileRows];
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t begin = group * task.group, rest = task.depth - begin, depth = rest < task.group ? rest : task.group;
    quantize_tile({.tile = task.tile + begin * rows,
                   .rows = rows,
                   .depth = depth,
                   .group = task.group,
                   .offset = 0,
                   .integers = reinterpret_cast<int8_t*>(words),
                   .scales = scales,
                   .starts = starts});
    lay_words(words, padded_depth(depth) / kDotRows, rows, row_bytes, task.integers + begin);
    for (int64_t i = 0; i < rows; ++i) task.scales[i * groups + group] = scales[i];
  }
  const int64_t padded = padded_depth(task.depth);
  for (int64_t i = 0; i < rows; ++i)
    __builtin_memset(task.integers + i * row_bytes + padded, 0, static_cast<size_t>(row_bytes - padded));
}

// Some rows from a depth on, the begin of a group.
struct LaidRows {
  const int8_t* integers;
  const float* scales;  // of that group; a row's next group stands behind it
  int64_t row_bytes, groups;
};

inline LaidRows laid_rows_at(const GemmTask& task, int64_t row, int64_t k) {
  const int64_t row_bytes = dot_row_bytes(task.depth), groups = (task.depth + task.group - 1) / task.group;
  return {task.integers + row * row_bytes + k, task.row_scales + row * groups + k / task.group, row_bytes, groups};
}

// Weights as signed bytes, [rows / 4][NR][4], of panels as W has them: `rows` of them, which `panel` is moved past.
template <class W>
void expand_dots(const char*& panel, int64_t rows, int8_t* out) {
  static constexpr uint8_t kSigned[16] = {0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff, 0, 1, 2, 3, 4, 5, 6, 7};
  for (int64_t row = 0; row < rows; row += W::kRows, panel += W::kRowsBytes, out += W::kRows * kPanelColumns)
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) {
      const int64_t at = v * kLanes * kDotRows;
      const Words words = load_words(panel + at);
      if constexpr (W::kRows == kDotRows) {
        store_words(out + at, words);
      } else {
        store_words(out + at, look_up(kSigned, nibbles_of<0>(words)));
        store_words(out + kDotRows * kPanelColumns + at, look_up(kSigned, nibbles_of<1>(words)));
      }
    }
}
