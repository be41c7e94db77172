// Products with weights as they were published: panels of codes and factors that every kind of rows can read
// (PublishedForm, table.h). A block of them is turned into plain numbers in L1, which the kernels of floats or of int8
// rows multiply: so there are as many of these functions as there are codes, and no more kernels. Few rows leave no
// time for that: they meet the codes in registers.
#pragma once

// Codes of some rows of a group as float32, [rows][NR].
template <int Bits, Codes Kind>
void widen_codes(const PublishedForm& form, const GroupNumbers& numbers, const char* codes, int64_t rows, float* out) {
  constexpr int64_t kRows = published_rows(Bits), kQuads = kRows / kDotRows;
  constexpr int64_t kBytes = published_words(Bits) * kDotRows * kPanelColumns;
  constexpr bool kDivided = Kind == Codes::kDividedTable;
  constexpr bool kFromTable = Kind == Codes::kTable || Kind == Codes::kExactTable || kDivided;
  constexpr bool kExactly = Kind == Codes::kExact || Kind == Codes::kExactTable || kDivided;
  for (int64_t row = 0; row < rows; row += kRows, codes += kBytes, out += kRows * kPanelColumns) {
    for (int64_t byte = 0; byte < kBytes; byte += 64) __builtin_prefetch(codes + kStreamAheadBytes + byte);
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) {
      Words quads[kQuads];
      read_codes<Bits>(codes + v * kLanes * kDotRows, quads);
#pragma GCC unroll 8
      for (int q = 0; q < kQuads; ++q) {
        if constexpr (kFromTable) quads[q] = look_up(form.table, quads[q]);
#pragma GCC unroll 4
        for (int j = 0; j < kDotRows; ++j) {
          const Words byte = (j == 0 ? quads[q] : quads[q] >> (8 * j)) & all_words(0xff);
          Vec number = Kind == Codes::kFloat8 ? widen_float8(byte) : to_floats(byte);
          if constexpr (kExactly) number = (number - numbers.zero[v]) * numbers.level[v];
          store(out + (q * kDotRows + j) * kPanelColumns + v * kLanes,
                kDivided ? number / numbers.scale[v] : fma(number, numbers.scale[v], numbers.offset[v]));
        }
      }
    }
  }
}

using WidenCodes = void (*)(const PublishedForm&, const GroupNumbers&, const char*, int64_t, float*);

inline WidenCodes widen_codes_of(const PublishedForm& form) {
  if (form.divides) return widen_codes<4, Codes::kDividedTable>;
  if (form.bits == 4 && form.from_table)
    return form.exact_first ? widen_codes<4, Codes::kExactTable> : widen_codes<4, Codes::kTable>;
  if (form.bits == 4) return form.exact_first ? widen_codes<4, Codes::kExact> : widen_codes<4, Codes::kPlain>;
  if (form.bits == 5) return form.exact_first ? widen_codes<5, Codes::kExact> : widen_codes<5, Codes::kPlain>;
  if (form.bits == 6) return form.exact_first ? widen_codes<6, Codes::kExact> : widen_codes<6, Codes::kPlain>;
  if (form.floats) return widen_codes<8, Codes::kFloat8>;
  return form.exact_first ? widen_codes<8, Codes::kExact> : widen_codes<8, Codes::kPlain>;
}

// Rows k to k + rows of a panel, each of which has the factors of another group, as float32, [rows][NR].
template <int Bits, PublishedForm::Factor Factor>
void widen_scattered(const PublishedForm& form, const char* panel, const char* codes, int64_t k, int64_t rows,
                     float* out) {
  constexpr int64_t kRows = published_rows(Bits), kQuads = kRows / kDotRows;
  constexpr int64_t kBytes = published_words(Bits) * kDotRows * kPanelColumns;
  const int64_t bytes = factor_bytes(Factor) * kPanelColumns, zeros = form.offsets ? 2 * bytes : bytes;
  for (const int64_t end = k + rows; k < end; codes += kBytes, k += kRows, out += kRows * kPanelColumns) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) {
      Words quads[kQuads];
      read_codes<Bits>(codes + v * kLanes * kDotRows, quads);
#pragma GCC unroll 8
      for (int row = 0; row < kRows; ++row) {
        if (k + row >= end) break;
        const char* const at = panel + form.group_of_row[k + row] * form.factor_bytes;
        const Words byte = (quads[row / kDotRows] >> (row % kDotRows * 8)) & all_words(0xff);
        const Vec number = form.floats ? widen_float8(byte) : to_floats(byte);
        const Vec zero_of = form.zeros ? to_floats(load_bytes(at + zeros + v * kLanes)) : broadcast(form.zero);
        const Vec scaled = (number - zero_of) * read_factor(Factor, at, v);
        store(out + row * kPanelColumns + v * kLanes,
              form.offsets ? scaled + read_factor(Factor, at + bytes, v) : scaled);
      }
    }
  }
}

using WidenScattered = void (*)(const PublishedForm&, const char*, const char*, int64_t, int64_t, float*);

inline WidenScattered widen_scattered_of(const PublishedForm& form) {
  if (form.factor == PublishedForm::kFloat32)
    return form.bits == 4 ? widen_scattered<4, PublishedForm::kFloat32> : widen_scattered<8, PublishedForm::kFloat32>;
  if (form.factor == PublishedForm::kFloat16)
    return form.bits == 4 ? widen_scattered<4, PublishedForm::kFloat16> : widen_scattered<8, PublishedForm::kFloat16>;
  return form.bits == 4 ? widen_scattered<4, PublishedForm::kBFloat16> : widen_scattered<8, PublishedForm::kBFloat16>;
}

// Rows k to k + depth of a panel as float32, [depth][NR] and zeros or what stands in padding behind them; k is a
// multiple of 32.
inline void widen_published(const PublishedForm& form, WidenCodes widen_them, const char* panel, int64_t k,
                            int64_t depth, float* out) {
  for (const int64_t end = k + depth; k < end;) {
    const int64_t within = k % form.group, rest = form.group - within;
    const int64_t rows = rest < end - k ? rest : end - k;
    const int64_t chunk = within / published_rows(form.bits) * published_words(form.bits);
    const char* const codes = block_of(form, panel, k) + form.codes_of(k) +
                              k % kSuperRows / form.group * form.group_bytes + chunk * kDotRows * kPanelColumns;
    if (form.scattered)
      widen_scattered_of(form)(form, panel, codes, k, rows, out);
    else
      widen_them(form, read_group(form, panel, k), codes, rows, out);
    k += rows;
    out += rows * kPanelColumns;
  }
}

// Few rows straight from P panels, `stride` bytes apart, whose numbers need nothing to be exact first: c[p][i][NR] with
// the bits of widened ones.
template <int Bits, Codes Kind, int R, int P>
void multiply_codes(const PublishedForm& form, const float* x, const char* panels, int64_t stride, int64_t depth,
                    float* c) {
  constexpr int64_t kRows = published_rows(Bits), kQuads = kRows / kDotRows;
  constexpr int64_t kBytes = published_words(Bits) * kDotRows * kPanelColumns;
  Vec acc[P][R][kPanelVectors];
#pragma GCC unroll 64
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = zero();
  walk_groups<P>(form, true, 0, panels, stride, depth,
                 [&](int64_t k, int64_t rows_here, const char* codes, const float* factors) {
                   for (int64_t row = 0; row < rows_here; row += kRows, codes += kBytes) {
                     const int64_t left = rows_here - row;
                     const float* const x_here = x + (k + row) * R;
#pragma GCC unroll 64
                     for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
                       for (int64_t byte = 0; byte < kBytes; byte += 64)
                         __builtin_prefetch(codes + p * stride + kStreamAheadBytes + byte);
#pragma GCC unroll 4
                       for (int v = 0; v < kPanelVectors; ++v) {
                         const float* const of_panel = factors + p * kBlockFactors + v * kLanes;
                         const Vec scale = load(of_panel), offset = load(of_panel + kPanelColumns);
                         Words quads[kQuads];
                         read_codes<Bits>(codes + p * stride + v * kLanes * kDotRows, quads);
#pragma GCC unroll 8
                         for (int q = 0; q < kQuads; ++q) {
                           if constexpr (Kind == Codes::kTable) quads[q] = look_up(form.table, quads[q]);
#pragma GCC unroll 4
                           for (int j = 0; j < kDotRows; ++j) {
                             const int64_t at = q * kDotRows + j;
                             if (at >= left) break;
                             const Words byte = (j == 0 ? quads[q] : quads[q] >> (8 * j)) & all_words(0xff);
                             const Vec number = Kind == Codes::kFloat8 ? widen_float8(byte) : to_floats(byte);
                             const Vec weight = fma(number, scale, offset);
#pragma GCC unroll 64
                             for (int i = 0; i < R; ++i)
                               acc[p][i][v] = fma(broadcast(x_here[at * R + i]), weight, acc[p][i][v]);
                           }
                         }
                       }
                     }
                   }
                 });
#pragma GCC unroll 64
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v) store(c + (p * R + i) * kPanelColumns + v * kLanes, acc[p][i][v]);
}

template <int Bits, Codes Kind, int R>
void stream_values(const GemmTask& task, int64_t row_begin, Finish finish) {
  const PublishedForm& form = *task.form;
  const int64_t stride = form.panel_bytes;
  const float* const x = task.input + row_begin * task.depth;
  stream_side_by_side<R>(task, stride, row_begin, finish, [&](auto count, const char* panels) {
    multiply_codes<Bits, Kind, R, count.value>(form, x, panels, stride, task.depth, task.scratch);
  });
}

using StreamPanelsOf = void (*)(const GemmTask&, int64_t, Finish);
template <int Bits, Codes Kind>
struct ValueStreams {
  template <class, int... Below>
  struct ByRows {
    static constexpr StreamPanelsOf kStream[] = {stream_values<Bits, Kind, Below + 1>...};
  };
  using All = CountRows<ByRows, void, kStreamedRows>;
};

// Null where something has to be exact first.
inline StreamPanelsOf stream_values_of(const PublishedForm& form, int64_t rows) {
  if (form.exact_first) return nullptr;
  if (form.bits == 4)
    return form.from_table ? ValueStreams<4, Codes::kTable>::All::kStream[rows - 1]
                           : ValueStreams<4, Codes::kPlain>::All::kStream[rows - 1];
  if (form.bits == 5) return ValueStreams<5, Codes::kPlain>::All::kStream[rows - 1];
  if (form.bits == 6) return ValueStreams<6, Codes::kPlain>::All::kStream[rows - 1];
  return form.floats ? ValueStreams<8, Codes::kFloat8>::All::kStream[rows - 1]
                     : ValueStreams<8, Codes::kPlain>::All::kStream[rows - 1];
}

// Bytes of `depth` rows from the begin of a group on, to fetch them.
inline int64_t published_bytes(const PublishedForm& form, int64_t depth) {
  return depth * form.block_bytes / kSuperRows;
}

inline void published_gemm(const GemmTask& task) {
  const PublishedForm& form = *task.form;
  const Finish finish = task.epilogue.kind == Epilogue::kNone ? finish_rows : finish_tile;
  const Tiling tiling(task.rows);
  const int64_t rows_of_first = tiling.rows(task.first_tile);
  if (task.num_tiles == 1 && rows_of_first <= kStreamedRows)
    if (const StreamPanelsOf stream = stream_values_of(form, rows_of_first))
      return stream(task, tiling.begin(task.first_tile), finish);
  const WidenCodes widen_them = widen_codes_of(form);

  float* const widened = task.scratch + kPanelsTogether * kPanelSums;
  multiply_in_blocks<kWidenedRows, kAheadStreams>(
      task, finish, 1, form.panel_bytes, [&](int64_t depth) { return published_bytes(form, depth); },
      [&](const char* panel, int64_t, int64_t k, int64_t depth) {
        widen_published(form, widen_them, panel, k, depth, widened);
        return reinterpret_cast<const char*>(widened);
      },
      [&](int64_t tile_begin, int64_t rows, int64_t k, int64_t depth, const char* block, float* c, bool resume,
          const Ahead& ahead) {
        const float* const x = task.input + tile_begin * task.depth + k * rows;
        Tiles<Float32Weights>::kMultiply[rows - 1](x, block, 0, depth, 0, c, resume, ahead);
      });
}
