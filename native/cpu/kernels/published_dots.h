// Products of int8 rows with weights as they were published (published.h).
#pragma once

constexpr int64_t kDotBlockRows = 128;  // the largest group of published panels
// Bytes of rows, and factors of groups as float32: a scale and an offset of each column.
constexpr int64_t kDotBlockBytes = kDotBlockRows * kPanelColumns;
constexpr int64_t kDotBlockFactors = kDotBlockRows / kLeastPublishedGroup * 2 * kPanelColumns;
constexpr int64_t kDotBlockFloats = kDotBlockBytes / static_cast<int64_t>(sizeof(float)) + kDotBlockFactors;

// What `dot` multiplies: bytes that are not negative where it wants them so, else signed ones, to which numbers of
// eight bits are brought by what is taken from them.
struct PublishedBytes {
  static constexpr int64_t kRows = kDotRows;
  static constexpr int64_t kRowsBytes = kDotRows * kPanelColumns;
  static constexpr bool kNonNegative = kInt8DotOffset > 0;
  template <int Part>
  static void load(const char* rows, Words (&out)[kPanelVectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) out[v] = load_words(rows + v * kLanes * kDotRows);
  }
};

// Codes of some rows of a group as bytes, [rows / 4][NR][4].
template <int Bits, bool FromTable>
void expand_codes(const PublishedForm& form, const char* codes, int64_t rows, int8_t* out) {
  constexpr int64_t kRows = published_rows(Bits), kQuads = kRows / kDotRows;
  constexpr int64_t kBytes = published_words(Bits) * kDotRows * kPanelColumns;
  constexpr bool kMadeSigned = !PublishedBytes::kNonNegative && (Bits == 8 || FromTable);
  const Words half_range = all_words(form.wide ? static_cast<int32_t>(0x80808080) : 0);
  for (int64_t row = 0; row < rows; row += kRows, codes += kBytes, out += kRows * kPanelColumns) {
    for (int64_t byte = 0; byte < kBytes; byte += 64) __builtin_prefetch(codes + kStreamAheadBytes + byte);
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) {
      Words quads[kQuads];
      read_codes<Bits>(codes + v * kLanes * kDotRows, quads);
#pragma GCC unroll 8
      for (int q = 0; q < kQuads; ++q) {
        if constexpr (FromTable) quads[q] = look_up(form.table, quads[q]);
        if constexpr (kMadeSigned) quads[q] = quads[q] ^ half_range;
        store_words(out + (q * kPanelColumns + v * kLanes) * kDotRows, quads[q]);
      }
    }
  }
}

using ExpandCodes = void (*)(const PublishedForm&, const char*, int64_t, int8_t*);

inline ExpandCodes expand_codes_of(const PublishedForm& form) {
  if (form.bits == 4) return form.from_table ? expand_codes<4, true> : expand_codes<4, false>;
  return form.bits == 5 ? expand_codes<5, false> : form.bits == 6 ? expand_codes<6, false> : expand_codes<8, false>;
}

inline float dot_shift(const PublishedForm& form) { return !PublishedBytes::kNonNegative && form.wide ? 128 : 0; }
inline bool has_offsets(const PublishedForm& form) { return form.offsets || form.zeros; }
// Factors of a group.
inline int64_t dot_factors(const PublishedForm& form) { return (has_offsets(form) ? 2 : 1) * kPanelColumns; }

// Rows k to k + depth of a panel, k the begin of a group and all of one block.
inline void expand_published(const PublishedForm& form, ExpandCodes expand_them, ReadFactors read_factors,
                             const char* panel, int64_t k, int64_t depth, float* block) {
  auto* out = reinterpret_cast<int8_t*>(block);
  float* const factors = block + kDotBlockBytes / static_cast<int64_t>(sizeof(float));
  const int64_t first = k % kSuperRows / form.group;
  const char* const from = block_of(form, panel, k);
  const char* codes = from + form.codes_of(k) + first * form.group_bytes;
  int64_t groups = 0;
  for (int64_t row = 0; row < depth; row += form.group, ++groups) {
    const int64_t rows = form.group < depth - row ? form.group : depth - row;
    expand_them(form, codes, rows, out);
    codes += form.group_bytes;
    out += rows * kPanelColumns;
  }
  read_factors(form, from, first, groups, dot_shift(form), factors);
}

// c[p][i][v] = fma(sum of products, scale of the weights * scale of the row, c), then where groups have offsets
// fma(offset, scale of the row * its sum, c): how a group joins those before it.
template <int R>
[[gnu::always_inline]] inline void add_group(const Words (&acc)[R][kPanelVectors], const DotRows& rows,
                                             const float* factors, bool offsets, bool first, float* c) {
#pragma GCC unroll 64
  for (int i = 0; i < R; ++i) {
    const Vec row_scale = broadcast(rows.scales[i]);
#pragma GCC unroll 64
    for (int v = 0; v < kPanelVectors; ++v) {
      float* const at = c + i * kPanelColumns + v * kLanes;
      store(at, fma(to_floats(acc[i][v]), load(factors + v * kLanes) * row_scale, first ? zero() : load(at)));
    }
  }
  if (!offsets) return;
#pragma GCC unroll 64
  for (int i = 0; i < R; ++i) {
    const Vec row_sum = broadcast(rows.scales[i] * static_cast<float>(rows.starts[i]));
#pragma GCC unroll 64
    for (int v = 0; v < kPanelVectors; ++v) {
      float* const at = c + i * kPanelColumns + v * kLanes;
      store(at, fma(load(factors + kPanelColumns + v * kLanes), row_sum, load(at)));
    }
  }
}

// What sums of a group begin with: where it has no offset, what takes the zero back.
template <int R>
[[gnu::always_inline]] inline void start_group(const DotRows& rows, bool offsets, Words (&acc)[R][kPanelVectors]) {
#pragma GCC unroll 64
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
    for (int v = 0; v < kPanelVectors; ++v) acc[i][v] = all_words(offsets ? 0 : rows.starts[i]);
}

// Quad q of the rows that stand together joins the sums of a panel.
template <int R>
[[gnu::always_inline]] inline void dot_quad(const int8_t* x, Words codes, int v, Words (&acc)[R][kPanelVectors]) {
#pragma GCC unroll 64
  for (int i = 0; i < R; ++i)
    acc[i][v] = dot<PublishedBytes::kNonNegative>(acc[i][v], codes, broadcast_word(x + i * kDotRows));
}

// c[i][NR] of a tile of R rows and a block of a panel, group after group. `depth` is a multiple of four.
template <int R>
void dot_published(const PublishedForm& form, DotRows rows, const float* block, int64_t depth, float* c, bool resume,
                   const Ahead& next) {
  const bool offsets = has_offsets(form);
  const int64_t width = dot_factors(form);
  const char* ahead = next.at;
  const auto* bytes = reinterpret_cast<const char*>(block);
  const float* factors = block + kDotBlockBytes / static_cast<int64_t>(sizeof(float));
  for (int64_t k = 0; k < depth; k += form.group, factors += width) {
    Words acc[1][R][kPanelVectors];
    start_group<R>(rows, offsets, acc[0]);
    const int64_t end = depth - k < form.group ? depth - k : form.group;
    for (int64_t row = 0; row < end; row += kDotRows) {
      for (int64_t line = 0; line < next.step; line += 64) __builtin_prefetch(ahead + line, 0, 2);
      ahead += next.step;
      dot_rows<PublishedBytes, R, 1>(rows.x, R, bytes, 0, acc);
    }
    add_group<R>(acc[0], rows, factors, offsets, k == 0 && !resume, c);
    rows.scales += R;
    rows.starts += R;
  }
}

// The codes of a group of P panels, which come from memory, join their sums. Whole: the rows that stand together are
// all there.
template <int Bits, bool FromTable, bool Whole, int R, int P>
[[gnu::always_inline]] inline void dot_group(const PublishedForm& form, const int8_t* x, const char* codes,
                                             int64_t stride, int64_t rows, Words (&acc)[P][R][kPanelVectors]) {
  constexpr int64_t kRows = published_rows(Bits), kQuads = kRows / kDotRows;
  constexpr int64_t kBytes = published_words(Bits) * kDotRows * kPanelColumns;
  constexpr bool kMadeSigned = !PublishedBytes::kNonNegative && (Bits == 8 || FromTable);
  const Words half_range = all_words(form.wide ? static_cast<int32_t>(0x80808080) : 0);
  for (int64_t row = 0; row < rows; row += kRows, codes += kBytes, x += R * kRows) {
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 8
      for (int64_t byte = 0; byte < kBytes; byte += 64)
        __builtin_prefetch(codes + p * stride + kStreamAheadBytes + byte);
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) {
        Words quads[kQuads];
        read_codes<Bits>(codes + p * stride + v * kLanes * kDotRows, quads);
#pragma GCC unroll 8
        for (int q = 0; q < kQuads; ++q) {
          if (!Whole && q * kDotRows >= rows - row) break;
          if constexpr (FromTable) quads[q] = look_up(form.table, quads[q]);
          if constexpr (kMadeSigned) quads[q] = quads[q] ^ half_range;
          dot_quad<R>(x + q * R * kDotRows, quads[q], v, acc[p]);
        }
      }
    }
  }
}

// The same as dot_published straight from P panels, `stride` bytes apart: few rows leave no time to write codes down.
template <int Bits, bool FromTable, int R, int P>
void dot_codes(const PublishedForm& form, DotRows rows, const char* panels, int64_t stride, int64_t depth, float* c) {
  const bool offsets = has_offsets(form);
  walk_groups<P>(form, offsets, dot_shift(form), panels, stride, depth,
                 [&](int64_t k, int64_t rows_here, const char* codes, const float* factors) {
                   // Rows of integers are padded to eight.
                   const bool whole = published_rows(Bits) <= 8 || rows_here % published_rows(Bits) == 0;
                   Words acc[P][R][kPanelVectors];
#pragma GCC unroll 64
                   for (int p = 0; p < P; ++p) start_group<R>(rows, offsets, acc[p]);
                   if (whole)
                     dot_group<Bits, FromTable, true>(form, rows.x, codes, stride, rows_here, acc);
                   else
                     dot_group<Bits, FromTable, false>(form, rows.x, codes, stride, rows_here, acc);
#pragma GCC unroll 64
                   for (int p = 0; p < P; ++p)
                     add_group<R>(acc[p], rows, factors + p * kBlockFactors, offsets, k == 0,
                                  c + p * R * kPanelColumns);
                   rows.x += R * rows_here;
                   rows.scales += R;
                   rows.starts += R;
                 });
}

template <int Bits, bool FromTable, int R>
void stream_codes(const GemmTask& task, int64_t tile_begin, Finish finish) {
  const PublishedForm& form = *task.form;
  const int64_t stride = form.panel_bytes, padded = (task.depth + kDotRows - 1) / kDotRows * kDotRows;
  const DotRows rows = dot_rows_at(task, tile_begin, R, 0);
  stream_side_by_side<R>(task, stride, tile_begin, finish, [&](auto count, const char* panels) {
    dot_codes<Bits, FromTable, R, count.value>(form, rows, panels, stride, padded, task.scratch);
  });
}

template <int Bits, bool FromTable>
struct Streams {
  template <class, int... Below>
  struct ByRows {
    static constexpr StreamPanelsOf kStream[] = {stream_codes<Bits, FromTable, Below + 1>...};
  };
  using All = CountRows<ByRows, void, kStreamedRows>;
};

inline StreamPanelsOf stream_codes_of(const PublishedForm& form, int64_t rows) {
  if (form.bits == 4)
    return form.from_table ? Streams<4, true>::All::kStream[rows - 1] : Streams<4, false>::All::kStream[rows - 1];
  if (form.bits == 5) return Streams<5, false>::All::kStream[rows - 1];
  return form.bits == 6 ? Streams<6, false>::All::kStream[rows - 1] : Streams<8, false>::All::kStream[rows - 1];
}

using DotPublished = void (*)(const PublishedForm&, DotRows, const float*, int64_t, float*, bool, const Ahead&);
template <class, int... Below>
struct PublishedDotsByRows {
  static constexpr DotPublished kDots[] = {dot_published<Below + 1>...};
};
using PublishedDotTiles = CountRows<PublishedDotsByRows, void, kTileRows>;

inline void published_dots_gemm(const GemmTask& task) {
  const PublishedForm& form = *task.form;
  const Finish finish = task.epilogue.kind == Epilogue::kNone ? finish_rows : finish_tile;
  const Tiling tiling(task.rows);
  const int64_t rows_of_first = tiling.rows(task.first_tile);
  if (task.num_tiles == 1 && rows_of_first <= kStreamedRows)
    return stream_codes_of(form, rows_of_first)(task, tiling.begin(task.first_tile), finish);
  const ExpandCodes expand_them = expand_codes_of(form);
  const ReadFactors read_factors = read_factors_of(form, has_offsets(form));

  float* const block = task.scratch + kPanelsTogether * kPanelSums;
  multiply_in_blocks<kDotBlockRows, kDotRows>(
      task, finish, 1, form.panel_bytes, [&](int64_t depth) { return published_bytes(form, depth); },
      [&](const char* panel, int64_t, int64_t k, int64_t depth) {
        expand_published(form, expand_them, read_factors, panel, k, depth, block);
        return reinterpret_cast<const char*>(block);
      },
      [&](int64_t tile_begin, int64_t rows, int64_t k, int64_t depth, const char* numbers, float* c, bool resume,
          const Ahead& ahead) {
        const int64_t padded = (depth + kDotRows - 1) / kDotRows * kDotRows;
        PublishedDotTiles::kDots[rows - 1](form, dot_rows_at(task, tile_begin, rows, k),
                                           reinterpret_cast<const float*>(numbers), padded, c, resume, ahead);
      });
}
