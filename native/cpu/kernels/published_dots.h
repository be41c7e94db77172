// Products of int8 rows with weights as they were published (published.h).
#pragma once

constexpr int64_t kDotBlockRows = 128;  // the largest group
constexpr int64_t kLeastPublishedGroup = 16;
// Bytes of rows, and factors of groups as float32: a scale and an offset of each column.
constexpr int64_t kDotBlockBytes = kDotBlockRows * kPanelColumns;
constexpr int64_t kDotBlockFactors = kDotBlockRows / kLeastPublishedGroup * 2 * kPanelColumns;
constexpr int64_t kDotBlockFloats = kDotBlockBytes / static_cast<int64_t>(sizeof(float)) + kDotBlockFactors;

// What `dot` multiplies: bytes that are not negative where it wants them so, else signed ones, to which numbers of eight
// bits are brought by what is taken from them.
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

// Rows k to k + depth of a panel, k the begin of a group.
inline void expand_published(const PublishedForm& form, ExpandCodes expand_them, const char* panel, int64_t k,
                             int64_t depth, float* block) {
  auto* out = reinterpret_cast<int8_t*>(block);
  float* factors = block + kDotBlockBytes / static_cast<int64_t>(sizeof(float));
  const bool made_signed = !PublishedBytes::kNonNegative && form.wide;
  for (const int64_t end = k + depth; k < end; k += form.group) {
    const int64_t rows = form.group < end - k ? form.group : end - k;
    expand_them(form, panel + k / form.group * form.group_bytes + form.codes_begin, rows, out);
    out += rows * kPanelColumns;
    const GroupNumbers numbers = read_group(form, panel, k);
    for (int v = 0; v < kPanelVectors; ++v) {
      // A group that is exact first has its zero beside the offset.
      const Vec scale = numbers.scale[v] * numbers.level[v];
      const Vec zero_left = (form.exact_first ? numbers.zero[v] : zero()) - broadcast(made_signed ? 128 : 0);
      store(factors + v * kLanes, scale);
      store(factors + kPanelColumns + v * kLanes, numbers.offset[v] - zero_left * scale);
    }
    factors += 2 * kPanelColumns;
  }
}

// c[p][i][NR] of a tile of R rows and P panels, whose blocks stand side by side: for each group in order, c = fma(sum of
// products, scale of the weights * scale of the row, c), then fma(offset, scale of the row * its sum, c). `depth` is a
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
      dot_rows<PublishedBytes, R, P>(rows.x, bytes, kStride, acc);
    }
    const bool first = k == 0 && !resume;
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p) {
      const float* const of_panel = factors + p * kDotBlockFloats;
#pragma GCC unroll 64
      for (int i = 0; i < R; ++i) {
        const Vec row_scale = broadcast(rows.scales[i]);
        const Vec row_sum = broadcast(rows.scales[i] * static_cast<float>(rows.starts[i]));
#pragma GCC unroll 64
        for (int v = 0; v < kPanelVectors; ++v) {
          float* const at = c + (p * R + i) * kPanelColumns + v * kLanes;
          const Vec sum =
              fma(to_floats(acc[p][i][v]), load(of_panel + v * kLanes) * row_scale, first ? zero() : load(at));
          store(at, fma(load(of_panel + kPanelColumns + v * kLanes), row_sum, sum));
        }
      }
    }
    rows.scales += R;
    rows.starts += R;
  }
}

// All panels of the task for a single tile of R rows, some side by side.
template <int R>
void stream_published_dots(const GemmTask& task, ExpandCodes expand_them, int64_t tile_begin, Finish finish) {
  constexpr int kTogether = panels_at_once(R);
  const auto* const panels = static_cast<const char*>(task.panels);
  const int64_t padded = (task.depth + kDotRows - 1) / kDotRows * kDotRows;
  float* const blocks = task.scratch + kPanelsTogether * kPanelSums;
  const auto multiply_some = [&](int64_t panel, int64_t together, auto dot) {
    for (int64_t k = 0; k < padded; k += kDotBlockRows) {
      const int64_t depth = padded - k < kDotBlockRows ? padded - k : kDotBlockRows;
      for (int64_t p = 0; p < together; ++p)
        expand_published(*task.form, expand_them, panels + (panel + p) * task.form->panel_bytes, k, depth,
                         blocks + p * kDotBlockFloats);
      dot(dot_rows_at(task, tile_begin, R, k), blocks, depth, task.group, task.scratch, k > 0, Ahead{});
    }
    for (int64_t p = 0; p < together; ++p) finish(task, panel + p, tile_begin, R, task.scratch + p * R * kPanelColumns);
  };
  int64_t panel = 0;
  for (; panel + kTogether <= task.num_panels; panel += kTogether)
    multiply_some(panel, kTogether, dot_published<R, kTogether, Fetch::kPanels>);
  for (; panel < task.num_panels; ++panel) multiply_some(panel, 1, dot_published<R, 1, Fetch::kPanels>);
}

using StreamPublishedDots = void (*)(const GemmTask&, ExpandCodes, int64_t, Finish);
using DotPublished = void (*)(DotRows, const float*, int64_t, int64_t, float*, bool, const Ahead&);
template <class, int... Below>
struct PublishedDotsByRows {
  static constexpr StreamPublishedDots kStream[] = {stream_published_dots<Below + 1>...};
  static constexpr DotPublished kDots[] = {dot_published<Below + 1, 1, Fetch::kAhead>...};
};
using PublishedDotTiles = CountRows<PublishedDotsByRows, void, kTileRows>;

inline void published_dots_gemm(const GemmTask& task) {
  const PublishedForm& form = *task.form;
  const Finish finish = task.epilogue.kind == Epilogue::kNone ? finish_rows : finish_tile;
  const Tiling tiling(task.rows);
  const int64_t rows_of_first = tiling.rows(task.first_tile);
  const ExpandCodes expand_them = expand_codes_of(form);
  if (task.num_tiles == 1 && panels_at_once(rows_of_first) > 1)
    return PublishedDotTiles::kStream[rows_of_first - 1](task, expand_them, tiling.begin(task.first_tile), finish);

  float* const block = task.scratch + kPanelsTogether * kPanelSums;
  multiply_in_blocks<kDotBlockRows, kDotRows>(
      task, finish, 1, form.panel_bytes, [&](int64_t depth) { return published_bytes(form, depth); },
      [&](const char* panel, int64_t, int64_t k, int64_t depth) {
        expand_published(form, expand_them, panel, k, depth, block);
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
