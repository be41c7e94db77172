// Products of int8 rows with weights as they were published (published.h).
#pragma once

constexpr int64_t kDotBlockRows = 128;  // the largest group
constexpr int64_t kLeastPublishedGroup = 16;
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

// Rows k to k + depth of a panel, k the begin of a group.
inline void expand_published(const PublishedForm& form, ExpandCodes expand_them, ReadFactors read_factors,
                             const char* panel, int64_t k, int64_t depth, float* block) {
  auto* out = reinterpret_cast<int8_t*>(block);
  float* factors = block + kDotBlockBytes / static_cast<int64_t>(sizeof(float));
  for (const int64_t end = k + depth; k < end; k += form.group, factors += 2 * kPanelColumns) {
    const int64_t rows = form.group < end - k ? form.group : end - k;
    expand_them(form, panel + k / form.group * form.group_bytes + form.codes_begin, rows, out);
    out += rows * kPanelColumns;
    read_factors(form, panel, k, dot_shift(form), factors);
  }
}

// c[p][i][v] = fma(sum of products, scale of the weights * scale of the row, c), then fma(offset, scale of the row *
// its sum, c): how a group joins those before it.
template <int R>
[[gnu::always_inline]] inline void add_group(const Words (&acc)[R][kPanelVectors], const DotRows& rows,
                                             const float* factors, bool first, float* c) {
#pragma GCC unroll 64
  for (int i = 0; i < R; ++i) {
    const Vec row_scale = broadcast(rows.scales[i]);
    const Vec row_sum = broadcast(rows.scales[i] * static_cast<float>(rows.starts[i]));
#pragma GCC unroll 64
    for (int v = 0; v < kPanelVectors; ++v) {
      float* const at = c + i * kPanelColumns + v * kLanes;
      const Vec sum = fma(to_floats(acc[i][v]), load(factors + v * kLanes) * row_scale, first ? zero() : load(at));
      store(at, fma(load(factors + kPanelColumns + v * kLanes), row_sum, sum));
    }
  }
}

// Quad q of the rows that stand together joins the sums of a panel.
template <int R>
[[gnu::always_inline]] inline void dot_quad(const int8_t* x, Words codes, int v, Words (&acc)[R][kPanelVectors]) {
#pragma GCC unroll 64
  for (int i = 0; i < R; ++i)
    acc[i][v] = dot<PublishedBytes::kNonNegative>(acc[i][v], codes, broadcast_word(x + i * kDotRows));
}

// c[p][i][NR] of a tile of R rows and P panels, whose blocks stand side by side, group after group. `depth` is a
// multiple of four.
template <int R, int P, Fetch F>
void dot_published(DotRows rows, const float* blocks, int64_t depth, int64_t group, float* c, bool resume,
                   const Ahead& next) {
  constexpr int64_t kStride = kDotBlockFloats * static_cast<int64_t>(sizeof(float));
  Ahead ahead = next;
  const auto* bytes = reinterpret_cast<const char*>(blocks);
  const float* factors = blocks + kDotBlockBytes / static_cast<int64_t>(sizeof(float));
  for (int64_t k = 0; k < depth; k += group, factors += 2 * kPanelColumns) {
    Words acc[P][R][kPanelVectors];
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
        for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = all_words(0);
    const int64_t end = depth - k < group ? depth - k : group;
    for (int64_t row = 0; row < end; row += kDotRows) {
      if constexpr (F == Fetch::kAhead) {
        __builtin_prefetch(ahead.at, 0, 2);
        ahead.at += ahead.step;
      }
      dot_rows<PublishedBytes, R, P>(rows.x, R, bytes, kStride, acc);
    }
    const bool first = k == 0 && !resume;
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p)
      add_group<R>(acc[p], rows, factors + p * kDotBlockFloats, first, c + p * R * kPanelColumns);
    rows.scales += R;
    rows.starts += R;
  }
}

// The same straight from P panels, `stride` bytes apart: few rows leave no time to write codes down.
template <int Bits, bool FromTable, int R, int P>
void dot_codes(const PublishedForm& form, ReadFactors read_factors, DotRows rows, const char* panels, int64_t stride,
               int64_t depth, float* c) {
  constexpr int64_t kRows = published_rows(Bits), kQuads = kRows / kDotRows;
  constexpr int64_t kBytes = published_words(Bits) * kDotRows * kPanelColumns;
  constexpr bool kMadeSigned = !PublishedBytes::kNonNegative && (Bits == 8 || FromTable);
  const Words half_range = all_words(form.wide ? static_cast<int32_t>(0x80808080) : 0);
  const char* group_begin = panels;
  for (int64_t k = 0; k < depth; k += form.group, group_begin += form.group_bytes) {
    const int64_t rows_here = depth - k < form.group ? depth - k : form.group;
    const char* codes = group_begin + form.codes_begin;
    fetch_scales<P>(group_begin, stride, form.codes_begin);
    Words acc[P][R][kPanelVectors];
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
        for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = all_words(0);
    for (int64_t row = 0; row < rows_here; row += kRows, codes += kBytes, rows.x += R * kRows) {
      const int64_t quads_here = (rows_here - row) / kDotRows;
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
            if (kQuads > 1 && q >= quads_here) break;
            if constexpr (FromTable) quads[q] = look_up(form.table, quads[q]);
            if constexpr (kMadeSigned) quads[q] = quads[q] ^ half_range;
            dot_quad<R>(rows.x + q * R * kDotRows, quads[q], v, acc[p]);
          }
        }
      }
    }
    if (rows_here % kRows != 0) rows.x -= R * (kRows - rows_here % kRows);
    float factors[2 * kPanelColumns];
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p) {
      read_factors(form, panels + p * stride, k, dot_shift(form), factors);
      add_group<R>(acc[p], rows, factors, k == 0, c + p * R * kPanelColumns);
    }
    rows.scales += R;
    rows.starts += R;
  }
}

template <int Bits, bool FromTable, int R>
void stream_codes(const GemmTask& task, int64_t tile_begin, Finish finish) {
  const PublishedForm& form = *task.form;
  const ReadFactors read_factors = read_factors_of(form);
  const int64_t stride = form.panel_bytes, padded = (task.depth + kDotRows - 1) / kDotRows * kDotRows;
  const DotRows rows = dot_rows_at(task, tile_begin, R, 0);
  stream_side_by_side<R>(task, stride, tile_begin, finish, [&](auto count, const char* panels) {
    dot_codes<Bits, FromTable, R, count.value>(form, read_factors, rows, panels, stride, padded, task.scratch);
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

using DotPublished = void (*)(DotRows, const float*, int64_t, int64_t, float*, bool, const Ahead&);
template <class, int... Below>
struct PublishedDotsByRows {
  static constexpr DotPublished kDots[] = {dot_published<Below + 1, 1, Fetch::kAhead>...};
};
using PublishedDotTiles = CountRows<PublishedDotsByRows, void, kTileRows>;

inline void published_dots_gemm(const GemmTask& task) {
  const PublishedForm& form = *task.form;
  const Finish finish = task.epilogue.kind == Epilogue::kNone ? finish_rows : finish_tile;
  const Tiling tiling(task.rows);
  const int64_t rows_of_first = tiling.rows(task.first_tile);
  const ExpandCodes expand_them = expand_codes_of(form);
  if (task.num_tiles == 1 && rows_of_first <= kStreamedRows)
    return stream_codes_of(form, rows_of_first)(task, tiling.begin(task.first_tile), finish);
  const ReadFactors read_factors = read_factors_of(form);

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
        PublishedDotTiles::kDots[rows - 1](dot_rows_at(task, tile_begin, rows, k),
                                           reinterpret_cast<const float*>(numbers), padded, task.group, c, resume,
                                           ahead);
      });
}
