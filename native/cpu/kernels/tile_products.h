// Products of int8 rows with integer weights by tiles, registers of up to 16 rows of 64 bytes. What is done with them
// has been defined before, by instructions (amx.h) or by plain code (a test):
//   configure_tiles(config), release_tiles(): all tiles of this thread
//   tile_zero<T>(), tile_load<T>(from, stride), tile_store<T>(to, stride)
//   tile_dot<C, A, B>(): C[m][n] += A[m][4k + i] * B[k][4n + i] over k and i = 0 .. 3, of signed bytes
#pragma once

constexpr int64_t kTileColumns = kTileRowBytes / kDotRows;
constexpr int kColumnTiles = kPanelColumns / kTileColumns;
static_assert(kPanelColumns % kTileColumns == 0 && kColumnTiles <= 2);
constexpr int kPieces = 2;  // of rows, side by side

// Which tile is what.
constexpr int tile_of_sums(int piece, int column) { return piece * kColumnTiles + column; }
constexpr int tile_of_rows(int piece) { return 4 + piece; }
constexpr int tile_of_weights(int column) { return 6 + column; }

// While one lives, tiles of this thread have the shapes for `rows` rows at a time, and `step` inputs.
class TileShapes {
 public:
  TileShapes(int64_t rows, int64_t step) {
    TileConfig config;
    for (int piece = 0; piece < kPieces; ++piece) {
      config.set(tile_of_rows(piece), rows, step);
      for (int column = 0; column < kColumnTiles; ++column)
        config.set(tile_of_sums(piece, column), rows, kTileRowBytes);
    }
    for (int column = 0; column < kColumnTiles; ++column)
      config.set(tile_of_weights(column), step / kDotRows, kTileRowBytes);
    configure_tiles(config);
  }
  ~TileShapes() { release_tiles(); }
  TileShapes(const TileShapes&) = delete;
  TileShapes& operator=(const TileShapes&) = delete;
};

// Rows [begin, begin + rows) of an expert as pairs of pieces of `height` rows. The last piece begins earlier where
// fewer rows are left: tiles keep their shape, and what it multiplies again is not added again.
struct PairsOfPieces {
  PairsOfPieces(int64_t begin, int64_t rows)
      : first(begin),
        all(rows),
        height(divide_up(rows, divide_up(rows, kTileHeight))),
        count(divide_up(rows, kPieces * height)) {}
  static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
  int64_t begin(int64_t i) const { return first + i * kPieces * height; }
  int64_t rows(int64_t i) const {
    const int64_t rest = all - i * kPieces * height;
    return rest < kPieces * height ? rest : kPieces * height;
  }

  int64_t first, all, height, count;
};

// Of a panel: some rows of depth, and what products with them leave.
constexpr int64_t kTileBlockRows = kBlockBytes / kPanelColumns;
struct TileBlock {
  int8_t bytes[kTileBlockRows * kPanelColumns];  // each group filled up to whole steps, by what rows have zeros for
  float scales[kTileBlockRows / kLeastGroup * kPanelColumns];
  int32_t sums[kPieces][kTileHeight][kPanelColumns];
};

// How many inputs are multiplied at once.
constexpr int64_t tile_step(int64_t group) { return group < kTileRowBytes ? group : kTileRowBytes; }

template <class W>
void expand_tile_block(const char* panel, int64_t depth, int64_t group, TileBlock& block) {
  const int64_t step = tile_step(group);
  int8_t* bytes = block.bytes;
  float* scales = block.scales;
  for (int64_t k = 0; k < depth; k += group, scales += kPanelColumns) {
    Vec scale[kPanelVectors];
    load_bfloat16(panel, scale);
    for (int v = 0; v < kPanelVectors; ++v) store(scales + v * kLanes, scale[v]);
    panel += Int8Weights::kScalesBytes;
    const int64_t rows = padded_depth(depth - k < group ? depth - k : group);
    expand_dots<W>(panel, rows, bytes);
    bytes += (rows + step - 1) / step * step * kPanelColumns;
  }
}

template <int Piece>
[[gnu::always_inline]] inline void zero_sums() {
  tile_zero<tile_of_sums(Piece, 0)>();
  if constexpr (kColumnTiles > 1) tile_zero<tile_of_sums(Piece, 1)>();
}
template <int Piece>
[[gnu::always_inline]] inline void dot_piece() {
  tile_dot<tile_of_sums(Piece, 0), tile_of_rows(Piece), tile_of_weights(0)>();
  if constexpr (kColumnTiles > 1) tile_dot<tile_of_sums(Piece, 1), tile_of_rows(Piece), tile_of_weights(1)>();
}
template <int Piece>
[[gnu::always_inline]] inline void store_sums(TileBlock& block) {
  constexpr int64_t kStride = kPanelColumns * sizeof(int32_t);
  tile_store<tile_of_sums(Piece, 0)>(block.sums[Piece][0], kStride);
  if constexpr (kColumnTiles > 1) tile_store<tile_of_sums(Piece, 1)>(block.sums[Piece][0] + kTileColumns, kStride);
}

// Sums of `depth` inputs of one group: of the rows at `first`, and with two pieces of those at `last`.
template <int Pieces>
[[gnu::always_inline]] inline void dot_tiles(const int8_t* first, const int8_t* last, int64_t row_bytes,
                                             const int8_t* weights, int64_t depth, int64_t step, Ahead& ahead) {
  constexpr int64_t kStride = kPanelColumns * kDotRows;
  zero_sums<0>();
  if constexpr (Pieces > 1) zero_sums<1>();
  for (int64_t k = 0; k < depth; k += step, weights += step * kPanelColumns) {
    tile_load<tile_of_weights(0)>(weights, kStride);
    if constexpr (kColumnTiles > 1) tile_load<tile_of_weights(1)>(weights + kTileRowBytes, kStride);
    tile_load<tile_of_rows(0)>(first + k, row_bytes);
    dot_piece<0>();
    if constexpr (Pieces > 1) {
      tile_load<tile_of_rows(1)>(last + k, row_bytes);
      dot_piece<1>();
    }
    for (int64_t turn = 0; turn < step; turn += kLeastGroup) fetch_ahead(ahead);
  }
}

// How `rows` rows of a group join those before: as in add_products.
inline void add_tile_sums(const int32_t* sums, int64_t rows, const float* scales, const float* row_scales,
                          int64_t groups, bool first, float* c) {
  Vec scale[kPanelVectors];
  for (int v = 0; v < kPanelVectors; ++v) scale[v] = load(scales + v * kLanes);
  for (int64_t i = 0; i < rows; ++i) {
    const Vec row_scale = broadcast(row_scales[i * groups]);
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) {
      const int64_t at = i * kPanelColumns + v * kLanes;
      const Vec sum = to_floats(load_words(reinterpret_cast<const char*>(sums + at)));
      store(c + at, fma(sum, scale[v] * row_scale, first ? zero() : load(c + at)));
    }
  }
}

// c [rows][NR] of a pair of pieces, or of a single one, continued from c when `resume`.
template <int Pieces>
void multiply_pieces(const LaidRows& x, int64_t rows, int64_t height, TileBlock& block, int64_t depth, int64_t group,
                     float* c, bool resume, const Ahead& next) {
  Ahead ahead = next;
  const int64_t step = tile_step(group), last_begin = rows - height;
  const int64_t before = Pieces > 1 ? height : 0, again = before - last_begin;  // rows in front of the last piece
  const int8_t *at = x.integers, *bytes = block.bytes;
  const float *row_scales = x.scales, *scales = block.scales;
  for (int64_t k = 0; k < depth; k += group, ++row_scales, scales += kPanelColumns) {
    const int64_t here = depth - k < group ? depth - k : group;
    dot_tiles<Pieces>(Pieces > 1 ? at + k : at + last_begin * x.row_bytes + k, at + last_begin * x.row_bytes + k,
                      x.row_bytes, bytes, here, step, ahead);
    bytes += group * kPanelColumns;
    const bool first = k == 0 && !resume;
    store_sums<0>(block);
    if constexpr (Pieces > 1) {
      store_sums<1>(block);
      add_tile_sums(block.sums[0][0], height, scales, row_scales, x.groups, first, c);
    }
    add_tile_sums(block.sums[Pieces - 1][again], rows - before, scales, row_scales + before * x.groups, x.groups, first,
                  c + before * kPanelColumns);
  }
}

template <class W>
void tile_gemm(const GemmTask& task) {
  const Finish finish = task.epilogue.kind == Epilogue::kNone ? finish_rows : finish_tile;
  const Tiling tiling(task.rows);
  const int64_t begin = tiling.begin(task.first_tile);
  const PairsOfPieces cut(begin, tiling.begin(task.first_tile + task.num_tiles) - begin);
  const TileShapes shapes(cut.height, tile_step(task.group));
  auto& block = *reinterpret_cast<TileBlock*>(task.scratch + kPanelsTogether * kPanelSums);
  const auto bytes_of_rows = [&](int64_t depth) { return dot_bytes<W>(depth, task.group); };
  multiply_cut_in_blocks<kTileBlockRows, kLeastGroup>(
      task, cut, finish, kPanelsTogether, bytes_of_rows(task.depth), bytes_of_rows,
      [&](const char* panel, int64_t at, int64_t, int64_t depth) {
        expand_tile_block<W>(panel + at, depth, task.group, block);
        return panel;
      },
      [&](int64_t row, int64_t rows, int64_t k, int64_t depth, const char*, float* c, bool resume, const Ahead& ahead) {
        const auto multiply = rows > cut.height ? multiply_pieces<2> : multiply_pieces<1>;
        multiply(laid_rows_at(task, row, k), rows, cut.height, block, depth, task.group, c, resume, ahead);
      });
}

bool supported() {
  static const bool has_it = MOE_CPU_HAS_IT;
  return has_it;
}

}  // namespace

const DotKernels dot_table = {
    .name = MOE_TEXT(MOE_ISA),
    .beside = MOE_TEXT(MOE_BESIDE),
    .supported = supported,
    .least_rows = kTileRows + 1,  // a single tile of the set waits for its weights
    .scratch_floats = kPanelsTogether * kPanelSums + static_cast<int64_t>(sizeof(TileBlock) / sizeof(float)),
    .quantize_tile = quantize_laid,
    .gemm = {nullptr, nullptr, nullptr, nullptr, nullptr, tile_gemm<Int8Dots>, tile_gemm<Int4Dots>, nullptr, nullptr},
};

#include "cpu/kernels/close.h"
