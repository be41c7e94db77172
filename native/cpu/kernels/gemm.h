// One expert's rows times a run of panels: the loops around the microkernel and what follows a product.
#pragma once

constexpr int64_t kMaxTiles = 16;       // per task: bounds the scratch, and rows enough to make a panel's load cheap
constexpr int64_t kLeastGroup = 32;     // of integer weights
constexpr int64_t kBlockBytes = 16384;  // of a panel: they stay in L1 while the tiles pass over them
constexpr int64_t kWidenedRows = kBlockBytes / (kPanelColumns * sizeof(float));
constexpr int64_t kPanelSums = kMaxTiles * kTileRows * kPanelColumns;

struct Tiling {
  explicit Tiling(int64_t rows, int64_t most = kTileRows)
      : count((rows + most - 1) / most), even(rows / count), larger(rows % count) {}
  int64_t begin(int64_t tile) const { return tile * even + (tile < larger ? tile : larger); }
  int64_t rows(int64_t tile) const { return even + (tile < larger); }

  int64_t count, even, larger;
};

// Panels multiplied at once by so few rows that one panel would not keep the multipliers busy.
constexpr int panels_at_once(int64_t rows) {
  if (4 * rows * kPanelVectors <= kStreamAccumulators) return 4;
  if (2 * rows * kPanelVectors <= kStreamAccumulators) return 2;
  return 1;
}

// Rows of a single tile of which several panels are multiplied at once.
constexpr int kStreamedRows = kStreamAccumulators / (2 * kPanelVectors);

using Finish = void (*)(const GemmTask& task, int64_t panel, int64_t row_begin, int64_t rows, const float* c);

// c [rows][NR] + bias -> output [rows, columns], row-major.
inline void finish_rows(const GemmTask& task, int64_t panel, int64_t row_begin, int64_t rows, const float* c) {
  const float* const bias = task.bias + panel * kPanelColumns;
  const int64_t column = (task.first_panel + panel) * kPanelColumns;
  const int64_t valid = task.columns - column;
  for (int64_t i = 0; i < rows; ++i) {
    float* const out = task.output + (row_begin + i) * task.columns + column;
    for (int v = 0; v < kPanelVectors; ++v) {
      const Vec sum = load(c + i * kPanelColumns + v * kLanes) + load(bias + v * kLanes);
      store_part(out + v * kLanes, sum, valid - v * kLanes);
    }
  }
}

// activation(c [rows][NR] + bias) -> output in tile form: the next product's input.
inline void finish_tile(const GemmTask& task, int64_t panel, int64_t row_begin, int64_t rows, const float* c) {
  const bool gated = has_gate(task.epilogue);
  const int vectors = gated ? kPanelVectors / 2 : kPanelVectors;
  const float* const bias = task.bias + panel * kPanelColumns;
  const int64_t column = (task.first_panel + panel) * vectors * kLanes;
  float* const out = task.output + row_begin * task.columns + column * rows;
  const int64_t valid = task.columns - column;
  for (int v = 0; v < vectors; ++v) {
    const int up_at = (gated ? v + vectors : v) * kLanes;
    float values[kTileRows * kLanes];
    for (int64_t i = 0; i < rows; ++i) {
      const float* const sums = c + i * kPanelColumns;
      const Vec gate = load(sums + v * kLanes) + load(bias + v * kLanes), up = load(sums + up_at) + load(bias + up_at);
      store(values + i * kLanes, activate(task.epilogue, gate, up));
    }
    store_tile([&](int64_t i) { return values + i * kLanes; }, rows, valid - v * kLanes, out + v * kLanes * rows);
  }
}

// A number that a lambda takes as a constant.
template <int N>
struct Count {
  static constexpr int value = N;
};

// All panels of the task for a single tile of R rows, read straight from memory, `stride` bytes from one to the next.
// multiply(count, panels): `count` of them side by side, into the task's scratch.
template <int R, class Multiply>
[[gnu::always_inline]] inline void stream_side_by_side(const GemmTask& task, int64_t stride, int64_t row_begin,
                                                       Finish finish, Multiply multiply) {
  constexpr int kTogether = panels_at_once(R);
  const auto* const panels = static_cast<const char*>(task.panels);
  int64_t panel = 0;
  const auto stream_some = [&](auto count) {
    multiply(count, panels + panel * stride);
    for (int64_t p = 0; p < count.value; ++p)
      finish(task, panel + p, row_begin, R, task.scratch + p * R * kPanelColumns);
    panel += count.value;
  };
  while (panel + kTogether <= task.num_panels) stream_some(Count<kTogether>{});
  while (panel < task.num_panels) stream_some(Count<1>{});
}

template <class W, int R>
void stream_panels(const GemmTask& task, const float* x, int64_t row_begin, Finish finish) {
  const int64_t stride = bytes_of<W>(task.depth, task.group);
  stream_side_by_side<R>(task, stride, row_begin, finish, [&](auto count, const char* panels) {
    multiply<W, R, count.value, Fetch::kPanels>(x, panels, stride, task.depth, task.group, task.scratch, false, {});
  });
}

// `depth` rows as float32, and the position behind them.
template <class W>
float* widen_rows(const char*& rows, int64_t depth, float* out) {
  const auto put = [&](const Vec(&row)[kPanelVectors]) {
    for (int v = 0; v < kPanelVectors; ++v) store(out + v * kLanes, row[v]);
    out += kPanelColumns;
  };
  for (int64_t k = 0; k < depth; k += W::kRows, rows += W::kRowsBytes) {
    Vec row[kPanelVectors];
    W::template load<0>(rows, row);
    put(row);
    if constexpr (W::kRows > 1) {
      if (k + 1 == depth) continue;
      W::template load<1>(rows, row);
      put(row);
    }
    if constexpr (W::kRows > 2) {
      if (k + 2 == depth) continue;
      W::template load<2>(rows, row);
      put(row);
      if (k + 3 == depth) continue;
      W::template load<3>(rows, row);
      put(row);
    }
  }
  return out;
}

// A block of a panel, of integers each group behind its scales as float32. widen_some(rows, depth, out): rows without
// scales, which `rows` is moved past, and the position behind what was written.
template <class W, class WidenSome>
void widen_groups(const char* block, int64_t depth, int64_t group, float* out, WidenSome widen_some) {
  if constexpr (W::kScaled) {
    for (int64_t k = 0; k < depth; k += group) {
      Vec scales[kPanelVectors];
      W::load_scales(block, scales);
      for (int v = 0; v < kPanelVectors; ++v) store(out + v * kLanes, scales[v]);
      block += W::kScalesBytes;
      out = widen_some(block, depth - k < group ? depth - k : group, out + kPanelColumns);
    }
  } else {
    widen_some(block, depth, out);
  }
}

using StreamPanels = void (*)(const GemmTask&, const float*, int64_t, Finish);
using MultiplyTile = void (*)(const float*, const char*, int64_t, int64_t, int64_t, float*, bool, const Ahead&);

// Function pointers by number of rows.
template <class W, int... Below>
struct ByRows {
  // A single tile asks for its next block in the time of one multiplication.
  static constexpr Fetch kOfOne = W::kRowsBytes / W::kRows > 64 ? Fetch::kTwiceAhead : Fetch::kAhead;
  static constexpr StreamPanels kStream[] = {stream_panels<W, Below + 1>...};
  static constexpr MultiplyTile kMultiply[] = {multiply<W, Below + 1, 1, Fetch::kAhead>...};
  static constexpr MultiplyTile kMultiplyOne[] = {multiply<W, Below + 1, 1, kOfOne>...};
};
template <template <class, int...> class Functions, class W, int N, int... Below>
struct CountRows : CountRows<Functions, W, N - 1, N - 1, Below...> {};
template <template <class, int...> class Functions, class W, int... Below>
struct CountRows<Functions, W, 0, Below...> : Functions<W, Below...> {};
template <class W>
using Tiles = CountRows<ByRows, W, kTileRows>;

// What the microkernel reads: the panels themselves, or a block that was widened.
template <class W, bool Widen>
struct ReadAs {
  using Weights = W;
};
template <class W>
struct ReadAs<W, true> {
  using Weights = Float32Weights;
};
template <>
struct ReadAs<Int8Weights, true> {
  using Weights = WidenedIntegers;
};
template <>
struct ReadAs<Int4Weights, true> {
  using Weights = WidenedIntegers;
};

// The tiles of a task.
struct TilesOfTask {
  explicit TilesOfTask(const GemmTask& task) : tiling(task.rows), first(task.first_tile), count(task.num_tiles) {}
  int64_t begin(int64_t i) const { return tiling.begin(first + i); }
  int64_t rows(int64_t i) const { return tiling.rows(first + i); }

  Tiling tiling;
  int64_t first, count;
};

// The loops around products in blocks: of some panels that stand side by side with every row of a task, so that a
// block is read from memory once. cut: the task's rows, as so many pieces as are multiplied at once. They ask for the
// panels' next blocks between them. stride: from a panel to the next. bytes_of_rows(depth): of a block from the begin
// of a group on. open(panel, at, k, depth): where to read a block, which stands `at` bytes behind the panel's begin.
// multiply(begin, rows, k, depth, block, c, resume, ahead): one piece times one block, RowsPerTurn rows of depth
// between two steps of `ahead`.
template <int64_t DepthBlock, int64_t RowsPerTurn, class Cut, class BytesOfRows, class Open, class Multiply>
[[gnu::always_inline]] inline void multiply_cut_in_blocks(const GemmTask& task, const Cut& cut, Finish finish,
                                                          int64_t together, int64_t stride, BytesOfRows bytes_of_rows,
                                                          Open open, Multiply multiply) {
  const TilesOfTask tiles(task);
  float* const sums = task.scratch;
  for (int64_t first = 0; first < task.num_panels; first += together) {
    const int64_t panels = task.num_panels - first < together ? task.num_panels - first : together;
    const auto* const begin = static_cast<const char*>(task.panels) + first * stride;
    int64_t at = 0;
    for (int64_t k = 0; k < task.depth; k += DepthBlock) {
      const int64_t depth = task.depth - k < DepthBlock ? task.depth - k : DepthBlock;
      const int64_t bytes = bytes_of_rows(depth);
      const int64_t share = bytes / (panels * cut.count);
      Ahead ahead{.at = k + depth < task.depth ? begin + at + bytes : begin + panels * stride,
                  .stride = panels == kAheadStreams ? stride : 64,
                  .step = share * RowsPerTurn / depth};
      for (int64_t p = 0; p < panels; ++p) {
        const char* const rows_of_block = open(begin + p * stride, at, k, depth);
        float* c = sums + p * kPanelSums;
        for (int64_t i = 0; i < cut.count; ++i) {
          const int64_t rows = cut.rows(i);
          multiply(cut.begin(i), rows, k, depth, rows_of_block, c, k > 0, ahead);
          c += rows * kPanelColumns;
          ahead.at += share;
        }
      }
      at += bytes;
    }
    // Row after row, so that what is written of a row is written together.
    int64_t sums_at = 0;
    for (int64_t t = 0; t < tiles.count; ++t) {
      const int64_t rows = tiles.rows(t);
      for (int64_t p = 0; p < panels; ++p)
        finish(task, first + p, tiles.begin(t), rows, sums + p * kPanelSums + sums_at);
      sums_at += rows * kPanelColumns;
    }
  }
}

// The same, tile after tile.
template <int64_t DepthBlock, int64_t RowsPerTurn, class BytesOfRows, class Open, class Multiply>
[[gnu::always_inline]] inline void multiply_in_blocks(const GemmTask& task, Finish finish, int64_t together,
                                                      int64_t stride, BytesOfRows bytes_of_rows, Open open,
                                                      Multiply multiply) {
  multiply_cut_in_blocks<DepthBlock, RowsPerTurn>(task, TilesOfTask(task), finish, together, stride, bytes_of_rows,
                                                  open, multiply);
}

template <class W, bool Widen>
void multiply_blocked(const GemmTask& task, Finish finish) {
  using Read = typename ReadAs<W, Widen>::Weights;
  constexpr int64_t kDepthBlock = kBlockBytes * Read::kRows / Read::kRowsBytes;
  // Blocks of integers are small: one panel after the other keeps the sums in L1.
  constexpr int64_t kTogether = W::kScaled ? 1 : kPanelsTogether;
  const MultiplyTile* multiply_tile = Tiles<Read>::kMultiply;
  if constexpr (!Widen)
    if (task.num_tiles == 1) multiply_tile = Tiles<Read>::kMultiplyOne;
  float* const widened = task.scratch + kPanelsTogether * kPanelSums;
  const auto open = [&](const char* panel, int64_t at, int64_t, int64_t depth) -> const char* {
    if constexpr (!Widen) return panel + at;
    widen_groups<W>(panel + at, depth, task.group, widened, widen_rows<W>);
    return reinterpret_cast<const char*>(widened);
  };
  const auto bytes_of_rows = [&](int64_t depth) { return bytes_of<W>(depth, task.group); };
  multiply_in_blocks<kDepthBlock, kAheadStreams>(
      task, finish, kTogether, bytes_of_rows(task.depth), bytes_of_rows, open,
      [&](int64_t tile_begin, int64_t rows, int64_t k, int64_t depth, const char* block, float* c, bool resume,
          const Ahead& ahead) {
        const float* const x = task.input + tile_begin * task.depth + k * rows;
        multiply_tile[rows - 1](x, block, 0, depth, task.group, c, resume, ahead);
      });
}

template <class W>
void gemm(const GemmTask& task) {
  const Finish finish = task.epilogue.kind == Epilogue::kNone ? finish_rows : finish_tile;
  const Tiling tiling(task.rows);
  const int64_t rows = tiling.rows(task.first_tile);
  if (task.num_tiles >= W::kWidenFrom) return multiply_blocked<W, true>(task, finish);
  if constexpr (!W::kScaled)
    if (task.num_tiles > 1 || panels_at_once(rows) == 1) return multiply_blocked<W, false>(task, finish);
  const int64_t row_begin = tiling.begin(task.first_tile);
  Tiles<W>::kStream[rows - 1](task, task.input + row_begin * task.depth, row_begin, finish);
}
