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

// The first `count` lanes; all when there are more than that.
inline void store_words_part(int8_t* to, Words words, int64_t count) {
  if (count >= kLanes) return store_words(to, words);
  int8_t bytes[kLanes * kDotRows];
  store_words(bytes, words);
  for (int64_t i = 0; i < count * kDotRows; ++i) to[i] = bytes[i];
}

// Lanes are rows of a tile, whose numbers of one depth stand together: those behind the last row hold others.
constexpr int kRowVectors = (kTileRows + kLanes - 1) / kLanes;

// The last byte of the first `count` words; of all when there are more than that.
inline void store_low_bytes(int8_t* to, Words words, int64_t count) {
  int32_t all[kLanes];
  store_words(reinterpret_cast<int8_t*>(all), words);
  int8_t bytes[kLanes];
  for (int i = 0; i < kLanes; ++i) bytes[i] = static_cast<int8_t>(all[i]);
  if (count >= kLanes)
    __builtin_memcpy(to, bytes, kLanes);
  else
    for (int64_t i = 0; i < count; ++i) to[i] = bytes[i];
}

// What takes the weights' offset back from sums with numbers that add up to `sum`. NaN compares with nothing.
inline int32_t start_of(int32_t offset, float sum) {
  return __builtin_fabsf(sum) < 1e9f ? -offset * static_cast<int32_t>(sum) : 0;
}

struct RowScale {
  Vec scale, inverse;
};

// Of the largest number in each lane; `poison` is NaN where one is not finite.
inline RowScale scale_of(Vec largest, Vec poison) {
  const Vec tiny = broadcast(1e-30f);  // less is zero
  return {where_negative(tiny - largest, largest / broadcast(127.0f), zero()) + poison,
          where_negative(tiny - largest, broadcast(127.0f) / largest, zero())};
}

// The scale of each row for the numbers of a group, which are those of depth `begin` to `end`; its inverse in
// `inverse`.
inline void find_row_scales(const QuantizeTask& task, int64_t begin, int64_t end, float* scales,
                            Vec (&inverse)[kRowVectors]) {
  for (int v = 0; v < kRowVectors; ++v) {
    Vec largest = zero(), poison = zero();
    for (int64_t at = begin * task.rows + v * kLanes; at < end * task.rows; at += task.rows) {
      const Vec x = load_part(task.tile + at, task.depth * task.rows - at);
      largest = larger(largest, absolute(x));
      poison = fma(x, zero(), poison);  // NaN as soon as one is not finite
    }
    const RowScale scale = scale_of(largest, poison);
    inverse[v] = scale.inverse;
    store_part(scales + v * kLanes, scale.scale, task.rows - v * kLanes);
  }
}

// The largest lane; -infinity and NaN do not come.
inline float largest_lane(Vec x) {
  float lanes[kLanes];
  store(lanes, x);
  float largest = 0;
  for (const float lane : lanes) largest = lane > largest ? lane : largest;
  return largest;
}

inline float sum_of_lanes(Vec x) {
  float lanes[kLanes];
  store(lanes, x);
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

// A tile of one row, whose depth stands together: lanes are its numbers. The same bits as quantize_rows gives a row:
// the largest of numbers, and sums of integers, are the same in any order.
inline void quantize_row(const QuantizeTask& task) {
  for (int64_t begin = 0, group = 0; begin < task.depth; begin += task.group, ++group) {
    const int64_t end = begin + task.group < task.depth ? begin + task.group : task.depth;
    Vec most = zero(), poison = zero();
    for (int64_t k = begin; k < end; k += kLanes) {
      const Vec x = load_part(task.tile + k, end - k);
      most = larger(most, absolute(x));
      poison = fma(x, zero(), poison);
    }
    const RowScale scale = scale_of(broadcast(largest_lane(most)), broadcast(sum_of_lanes(poison)));
    store_part(task.scales + group, scale.scale, 1);
    Vec sums = zero();
    for (int64_t k = begin; k < padded_depth(end); k += kLanes) {
      const Vec x = k < end ? load_part(task.tile + k, end - k) : zero();
      const Vec rounded = x * scale.inverse + broadcast(kRounder);
      sums = sums + (rounded - broadcast(kRounder));
      store_low_bytes(task.integers + k, reinterpret_cast<Words>(rounded), padded_depth(end) - k);
    }
    task.starts[group] = start_of(task.offset, sum_of_lanes(sums));
  }
}

// From float tile form to integers [depth / 4][rows][4], scales [groups][rows] and what takes the weights' offset back,
// starts [groups][rows]. Depth is padded with zeros to a multiple of eight. A row's numbers depend on that row alone. A
// group with a number that is not finite gets the scale NaN.
inline void quantize_rows(const QuantizeTask& task) {
  const int64_t rows = task.rows, words = padded_depth(task.depth) / kDotRows * rows;
  for (int64_t begin = 0, group = 0; begin < task.depth; begin += task.group, ++group) {
    const int64_t end = begin + task.group < task.depth ? begin + task.group : task.depth;
    Vec inverse[kRowVectors];
    find_row_scales(task, begin, end, task.scales + group * rows, inverse);
    Vec sums[kRowVectors];
    for (Vec& sum : sums) sum = zero();
    for (int64_t k = begin; k < padded_depth(end); k += kDotRows)  // groups begin at multiples of 16
      for (int v = 0; v < kRowVectors; ++v) {
        Words four = all_words(0);
#pragma GCC unroll 4
        for (int j = 0; j < kDotRows; ++j) {
          const int64_t at = (k + j) * rows + v * kLanes;
          const Vec x = k + j < end ? load_part(task.tile + at, task.depth * rows - at) : zero();
          const Vec rounded = x * inverse[v] + broadcast(kRounder);  // the integer is its last bits
          sums[v] = sums[v] + (rounded - broadcast(kRounder));
          four = four | (reinterpret_cast<Words>(rounded) & all_words(0xff)) << (8 * j);
        }
        const int64_t at = k / kDotRows * rows + v * kLanes;
        store_words_part(task.integers + at * kDotRows, four, words - at);
      }
    float sum[kRowVectors * kLanes];
    for (int v = 0; v < kRowVectors; ++v) store(sum + v * kLanes, sums[v]);
    for (int64_t i = 0; i < rows; ++i) task.starts[group * rows + i] = start_of(task.offset, sum[i]);
  }
}

inline void quantize_tile(const QuantizeTask& task) { task.rows == 1 ? quantize_row(task) : quantize_rows(task); }

// Some rows of a tile that was quantised, from some depth on.
struct DotRows {
  // The rows of the tile from the `first` of these on.
  DotRows from(int64_t first) const { return {x + first * kDotRows, scales + first, starts + first, in_tile}; }

  const int8_t* x;        // [depth / 4][in_tile][4]
  const float* scales;    // [groups][in_tile]
  const int32_t* starts;  // likewise
  int64_t in_tile;
};

template <class W, int R, int P, int Part>
[[gnu::always_inline]] inline void dot_row(const int8_t* x, const char* panel, int64_t stride,
                                           Words (&acc)[P][R][kPanelVectors]) {
  Words w[P][kPanelVectors];
#pragma GCC unroll 64
  for (int p = 0; p < P; ++p) W::template load<Part>(panel + p * stride, w[p]);
#pragma GCC unroll 64
  for (int i = 0; i < R; ++i) {
    if (P * kPanelVectors == 2 && i % 2 == 0) {  // as in multiply_row
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v)
        acc[0][i][v] = dot_at<W::kNonNegative>(acc[0][i][v], w[0][v], x + i * kDotRows);
      continue;
    }
    const Words value = broadcast_word(x + i * kDotRows);
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = dot<W::kNonNegative>(acc[p][i][v], w[p][v], value);
  }
}

// The W::kRows rows of depth that stand together, which x, of a tile of `in_tile` rows, and panel are moved past.
template <class W, int R, int P>
[[gnu::always_inline]] inline void dot_rows(const int8_t*& x, int64_t in_tile, const char*& panel, int64_t stride,
                                            Words (&acc)[P][R][kPanelVectors]) {
  dot_row<W, R, P, 0>(x, panel, stride, acc);
  if constexpr (W::kRows > kDotRows) dot_row<W, R, P, 1>(x + in_tile * kDotRows, panel, stride, acc);
  x += in_tile * W::kRows;
  panel += W::kRowsBytes;
}

// acc = what takes the weights' offset back from the products of R rows.
template <int R, int P>
[[gnu::always_inline]] inline void start_dots(const int32_t* starts, Words (&acc)[P][R][kPanelVectors]) {
#pragma GCC unroll 64
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = all_words(starts[i]);
}

// c[p][i][NR] = fma(sum of products, scale of the weights * scale of the row, c, or 0 with the `first` group).
template <int R, int P>
[[gnu::always_inline]] inline void add_products(const Words (&acc)[P][R][kPanelVectors], const char* scales,
                                                int64_t stride, const float* row_scales, bool first, float* c) {
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
        store(at, fma(to_floats(acc[p][i][v]), scale[v] * row_scale, first ? zero() : load(at)));
      }
    }
  }
}

// c[p][i][NR] of a tile of R rows and P panels, `stride` bytes apart in memory, group after group. `depth` is a
// multiple of eight.
template <class W, int R, int P>
void dot_stream(DotRows rows, const char* panel, int64_t stride, int64_t depth, int64_t group, float* c) {
  for (int64_t k = 0; k < depth; k += group) {
    const char* const scales = panel;
    panel += Int8Weights::kScalesBytes;
    fetch_scales<P>(scales, stride, Int8Weights::kScalesBytes);
    Words acc[P][R][kPanelVectors];
    start_dots(rows.starts, acc);
    const int64_t end = depth - k < group ? depth - k : group;
#pragma GCC unroll 1
    for (int64_t row = 0; row < end; row += W::kRows) {
#pragma GCC unroll 64
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
        for (int64_t byte = 0; byte < W::kRowsBytes; byte += 64)
          __builtin_prefetch(panel + p * stride + kStreamAheadBytes + byte);
      dot_rows<W, R, P>(rows.x, R, panel, stride, acc);
    }
    add_products(acc, scales, stride, rows.scales, k == 0, c);
    rows.scales += R;
    rows.starts += R;
  }
}

// The same of a block of one panel in a cache, continued from c when `resume`. `Lines` are fetched from each place of
// `next` a turn.
template <class W, int R, int Lines>
void dot_block(DotRows rows, const char* block, int64_t depth, int64_t group, float* c, bool resume,
               const Ahead& next) {
  const char* first_place = next.at;
  // Small tiles leave registers for their sums.
  constexpr bool kKeepsSums = kDotTileRows < kTileRows;
  float kept[R * kPanelColumns];
  float* const sums = kKeepsSums ? kept : c;
  const auto copy = [](const float* from, float* to) {
#pragma GCC unroll 64
    for (int i = 0; i < R * kPanelVectors; ++i) store(to + i * kLanes, load(from + i * kLanes));
  };
  if (kKeepsSums && resume) copy(c, kept);
  for (int64_t k = 0; k < depth; k += group) {
    const char* const scales = block;
    block += Int8Weights::kScalesBytes;
    Words acc[1][R][kPanelVectors];
    start_dots(rows.starts, acc);
    const int64_t end = depth - k < group ? depth - k : group;
    int64_t row = 0;
    for (; row + kAheadStreams * W::kRows <= end; row += kAheadStreams * W::kRows) {
      const char* at = first_place;
#pragma GCC unroll 1
      for (int stream = 0; stream < kAheadStreams; ++stream, at += next.stride) {
#pragma GCC unroll 4
        for (int line = 0; line < Lines; ++line) __builtin_prefetch(at + line * 64, 0, 2);
        dot_rows<W, R, 1>(rows.x, rows.in_tile, block, 0, acc);
      }
      first_place += next.step;
    }
#pragma GCC unroll 1
    for (; row < end; row += W::kRows) dot_rows<W, R, 1>(rows.x, rows.in_tile, block, 0, acc);
    add_products(acc, scales, 0, rows.scales, k == 0 && !resume, sums);
    rows.scales += rows.in_tile;
    rows.starts += rows.in_tile;
  }
  if (kKeepsSums) copy(kept, c);
}

template <class W>
int64_t dot_bytes(int64_t depth, int64_t group) {
  return padded_depth(depth) / W::kRows * W::kRowsBytes + (depth + group - 1) / group * Int8Weights::kScalesBytes;
}

// The rows of a tile from depth k, the begin of a group, on.
inline DotRows dot_rows_at(const GemmTask& task, int64_t tile_begin, int64_t rows, int64_t k) {
  const int64_t groups = (task.depth + task.group - 1) / task.group, before = k / task.group * rows;
  return {task.integers + tile_begin * dot_row_bytes(task.depth) + k * rows,
          task.row_scales + tile_begin * groups + before, task.row_starts + tile_begin * groups + before, rows};
}

template <class W, int R>
void stream_dots(const GemmTask& task, int64_t tile_begin, Finish finish) {
  const int64_t stride = dot_bytes<W>(task.depth, task.group), depth = padded_depth(task.depth);
  const DotRows rows = dot_rows_at(task, tile_begin, R, 0);
  stream_side_by_side<R>(task, stride, tile_begin, finish, [&](auto count, const char* panels) {
    dot_stream<W, R, count.value>(rows, panels, stride, depth, task.group, task.scratch);
  });
}

using StreamDots = void (*)(const GemmTask&, int64_t, Finish);
using DotBlock = void (*)(DotRows, const char*, int64_t, int64_t, float*, bool, const Ahead&);

template <class W, int... Below>
struct StreamsOfDots {
  static constexpr StreamDots kStream[] = {stream_dots<W, Below + 1>...};
};
template <class W>
using DotStreams = CountRows<StreamsOfDots, W, kStreamedRows>;

constexpr int64_t kMostLines = 3;  // of a turn: a block for one piece of rows, and the scales between its groups
template <class W, int... Below>
struct BlocksOfDots {
  static constexpr DotBlock kDots[kMostLines][sizeof...(Below)] = {
      {dot_block<W, Below + 1, 1>...}, {dot_block<W, Below + 1, 2>...}, {dot_block<W, Below + 1, 3>...}};
};
template <class W>
using DotBlocks = CountRows<BlocksOfDots, W, kDotTileRows>;

// A tile times a block, in pieces of kDotTileRows, which fetch what `ahead` says in turns.
template <class W>
void dot_tile(const DotRows& tile, const char* block, int64_t depth, int64_t group, float* c, bool resume,
              const Ahead& ahead) {
  const Tiling pieces(tile.in_tile, kDotTileRows);
  Ahead some{ahead.at, ahead.stride, ahead.step / pieces.count};
  const int64_t lines = (some.step + 63) / 64;
  const auto& dots = DotBlocks<W>::kDots[lines < 1 ? 0 : lines > kMostLines ? kMostLines - 1 : lines - 1];
  for (int64_t piece = 0; piece < pieces.count; ++piece) {
    const int64_t first = pieces.begin(piece), rows = pieces.rows(piece);
    dots[rows - 1](tile.from(first), block, depth, group, c + first * kPanelColumns, resume, some);
    some.at += some.step * (depth / (kAheadStreams * W::kRows));
  }
}

template <class W>
void integer_gemm(const GemmTask& task) {
  const Finish finish = task.epilogue.kind == Epilogue::kNone ? finish_rows : finish_tile;
  const Tiling tiling(task.rows);
  const int64_t rows_of_first = tiling.rows(task.first_tile);
  if (task.num_tiles == 1 && rows_of_first <= kStreamedRows)
    return DotStreams<W>::kStream[rows_of_first - 1](task, tiling.begin(task.first_tile), finish);

  constexpr int64_t kDepthBlock = kBlockBytes * W::kRows / W::kRowsBytes;
  const auto bytes_of_rows = [&](int64_t depth) { return dot_bytes<W>(depth, task.group); };
  multiply_in_blocks<kDepthBlock, kAheadStreams * W::kRows>(
      task, finish, kPanelsTogether, bytes_of_rows(task.depth), bytes_of_rows,
      [](const char* panel, int64_t at, int64_t, int64_t) { return panel + at; },
      [&](int64_t tile_begin, int64_t rows, int64_t k, int64_t depth, const char* block, float* c, bool resume,
          const Ahead& ahead) {
        dot_tile<W>(dot_rows_at(task, tile_begin, rows, k), block, padded_depth(depth), task.group, c, resume, ahead);
      });
}
