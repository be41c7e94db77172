// The microkernel: a few rows times a few panels, accumulators in registers.
#pragma once

// What to prefetch into L2 while multiplying, for whoever reads it next: a line per row of depth, in turns from
// kAheadStreams places `stride` bytes apart. The prefetchers of the hardware follow every one of them, so that together
// they get more out of memory than one.
struct Ahead {
  const char* at;
  int64_t stride;
  int64_t step;  // bytes after each turn
};
constexpr int kAheadStreams = kPanelsTogether;

// Where panels come from, and what is fetched meanwhile.
enum class Fetch : uint8_t {
  kPanels,      // memory: they are prefetched as they are read
  kAhead,       // a cache: what Ahead says
  kTwiceAhead,  // the same, and the line behind each
};

// Far enough to cover the latency of memory, near enough to stay in L1.
constexpr int64_t kStreamAheadBytes = 1024;
// With several rows the panels push the rows of x out of L1, and those must not wait for one of its few fill buffers:
// what comes from memory is fetched into L2 first, and from there into L1.
constexpr int64_t kFarAheadBytes = 8192, kNearAheadBytes = 1024;

// Of P panels `stride` bytes apart, what will stand kStreamAheadBytes further. Scales need it as rows do: a line
// between two groups that nobody fetches holds up all that follows.
template <int P>
[[gnu::always_inline]] inline void fetch_scales(const char* scales, int64_t stride, int64_t bytes) {
#pragma GCC unroll 64
  for (int p = 0; p < P; ++p)
    for (int64_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(scales + p * stride + kStreamAheadBytes + byte);
}

// The Row-th of the rows that stand together at `panel`, times the tile's rows at x: acc += x * w.
template <class W, int R, int P, Fetch F, int Row>
[[gnu::always_inline]] inline void multiply_row(const float* x, const char* panel, int64_t panel_stride,
                                                Vec (&acc)[P][R][kPanelVectors]) {
  Vec w[P][kPanelVectors];
#pragma GCC unroll 64
  for (int p = 0; p < P; ++p) {
    const char* const rows = panel + p * panel_stride;
    W::template load<Row>(rows, w[p]);
    if constexpr (F == Fetch::kPanels && Row == 0) {
#pragma GCC unroll 64
      for (int64_t byte = 0; byte < W::kRowsBytes; byte += 64) {
        if constexpr (R == 1 || W::kScaled) {  // integers have too many other instructions to gain
          __builtin_prefetch(rows + kStreamAheadBytes + byte);
        } else {
          __builtin_prefetch(rows + kFarAheadBytes + byte, 0, 2);
          __builtin_prefetch(rows + kNearAheadBytes + byte);
        }
      }
    }
  }
#pragma GCC unroll 64
  for (int i = 0; i < R; ++i) {
    // Two multiplications that read x themselves are an instruction less and a load more than a broadcast before them:
    // half the rows each way keep both the decoder and the load ports below their limits.
    if (P * kPanelVectors == 2 && i % 2 == 0) {
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v) acc[0][i][v] = fma_at(x + i, w[0][v], acc[0][i][v]);
      continue;
    }
    const Vec value = broadcast(x[i]);
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = fma(value, w[p][v], acc[p][i][v]);
  }
}

// The `Rows` rows that stand at x and panel.
template <class W, int R, int P, Fetch F, int Rows>
[[gnu::always_inline]] inline void multiply_some(const float* x, const char* panel, int64_t panel_stride,
                                                 Vec (&acc)[P][R][kPanelVectors]) {
  multiply_row<W, R, P, F, 0>(x, panel, panel_stride, acc);
  if constexpr (Rows > 1) multiply_row<W, R, P, F, 1>(x + R, panel, panel_stride, acc);
  if constexpr (Rows > 2) multiply_row<W, R, P, F, 2>(x + 2 * R, panel, panel_stride, acc);
  if constexpr (Rows > 3) multiply_row<W, R, P, F, 3>(x + 3 * R, panel, panel_stride, acc);
}

// acc += the `depth` rows at `panel`, which x and panel are moved past.
template <class W, int R, int P, Fetch F>
[[gnu::always_inline]] inline void multiply_rows(const float*& x, const char*& panel, int64_t panel_stride,
                                                 int64_t depth, Ahead& ahead, Vec (&acc)[P][R][kPanelVectors]) {
  constexpr int kTimes = kAheadStreams / W::kRows;
  int64_t k = 0;
  for (; k + kAheadStreams <= depth; k += kAheadStreams) {
#pragma GCC unroll 4
    for (int time = 0; time < kTimes; ++time) {
      multiply_some<W, R, P, F, W::kRows>(x, panel, panel_stride, acc);
      if constexpr (F != Fetch::kPanels) {
#pragma GCC unroll 4
        for (int row = 0; row < W::kRows; ++row)
          __builtin_prefetch(ahead.at + (time * W::kRows + row) * ahead.stride, 0, 2);
      }
      x += W::kRows * R;
      panel += W::kRowsBytes;
    }
    if constexpr (F == Fetch::kTwiceAhead) {
#pragma GCC unroll 4
      for (int stream = 0; stream < kAheadStreams; ++stream)
        __builtin_prefetch(ahead.at + 64 + stream * ahead.stride, 0, 2);
    }
    ahead.at += ahead.step;
  }
  for (; k + W::kRows <= depth; k += W::kRows) {
    multiply_some<W, R, P, F, W::kRows>(x, panel, panel_stride, acc);
    x += W::kRows * R;
    panel += W::kRowsBytes;
  }
  if constexpr (W::kRows > 1) {
    const int64_t rest = depth - k;
    if (rest == 0) return;
    if (rest == 1) multiply_some<W, R, P, F, 1>(x, panel, panel_stride, acc);
    if constexpr (W::kRows > 2) {
      if (rest == 2) multiply_some<W, R, P, F, 2>(x, panel, panel_stride, acc);
      if (rest == 3) multiply_some<W, R, P, F, 3>(x, panel, panel_stride, acc);
    }
    x += rest * R;
    panel += W::kRowsBytes;
  }
}

// c[p][i][NR] = sum over k of x[k][i] * panel p [k][NR], continued from c when `resume`. Panels are `panel_stride`
// bytes apart. Integer weights: a sum per group of rows, then c = fma(sum, scale, c).
template <class W, int R, int P, Fetch F>
void multiply(const float* x, const char* panel, int64_t panel_stride, int64_t depth, int64_t group, float* c,
              bool resume, const Ahead& next) {
  Ahead ahead = next;
  const auto sum_at = [c](int p, int i, int v) { return c + (p * R + i) * kPanelColumns + v * kLanes; };
  Vec acc[P][R][kPanelVectors];
  if constexpr (W::kScaled) {
    for (int64_t k = 0; k < depth; k += group) {
      const char* const scales = panel;
      panel += W::kScalesBytes;
      if constexpr (F == Fetch::kPanels) fetch_scales<P>(scales, panel_stride, W::kScalesBytes);
#pragma GCC unroll 64
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
        for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
          for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = zero();
      multiply_rows<W, R, P, F>(x, panel, panel_stride, depth - k < group ? depth - k : group, ahead, acc);
      const bool first = k == 0 && !resume;
#pragma GCC unroll 64
      for (int p = 0; p < P; ++p) {
        Vec scale[kPanelVectors];
        W::load_scales(scales + p * panel_stride, scale);
#pragma GCC unroll 64
        for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
          for (int v = 0; v < kPanelVectors; ++v) {
            float* const at = sum_at(p, i, v);
            store(at, fma(acc[p][i][v], scale[v], first ? zero() : load(at)));
          }
      }
    }
  } else {
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
        for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = resume ? load(sum_at(p, i, v)) : zero();
    multiply_rows<W, R, P, F>(x, panel, panel_stride, depth, ahead, acc);
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
        for (int v = 0; v < kPanelVectors; ++v) store(sum_at(p, i, v), acc[p][i][v]);
  }
}
