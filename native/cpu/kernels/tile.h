// The microkernel: a few rows times a few panels, accumulators in registers.
#pragma once

// Where to prefetch from while multiplying: one line per step of k, for whoever reads it next.
struct Ahead {
  const char* at;
  int64_t step;  // bytes; 0 when there is nothing to fetch
};

// Far enough to cover the latency of memory, near enough to stay in L1.
constexpr int64_t kStreamAheadBytes = 2048;

// c[p][i][NR] = sum over k of x[k][i] * panel p [k][NR], continued from c when `resume`. Panels are `panel_stride`
// elements apart. With `Streaming` the panels come from memory and are prefetched as they are read.
template <class W, int R, int P, bool Streaming>
void multiply(const float* x, const typename W::Element* panel, int64_t panel_stride, int64_t depth, float* c,
              bool resume, Ahead ahead) {
  Vec acc[P][R][kPanelVectors];
#pragma GCC unroll 64
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v)
        acc[p][i][v] = resume ? load(c + (p * R + i) * kPanelColumns + v * kLanes) : zero();

  for (int64_t k = 0; k < depth; ++k) {
    Vec w[P][kPanelVectors];
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p) {
      const typename W::Element* const row = panel + p * panel_stride;
      W::load(row, w[p]);
      if constexpr (Streaming) {
        constexpr int64_t kRowBytes = kPanelColumns * sizeof(typename W::Element);
#pragma GCC unroll 64
        for (int64_t byte = 0; byte < kRowBytes; byte += 64)
          __builtin_prefetch(reinterpret_cast<const char*>(row) + kStreamAheadBytes + byte);
      }
    }
#pragma GCC unroll 64
    for (int i = 0; i < R; ++i) {
      const Vec value = broadcast(x[i]);
#pragma GCC unroll 64
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
        for (int v = 0; v < kPanelVectors; ++v) acc[p][i][v] = fma(value, w[p][v], acc[p][i][v]);
    }
    x += R;
    panel += kPanelColumns;
    if constexpr (!Streaming) {
      __builtin_prefetch(ahead.at);
      ahead.at += ahead.step;
    }
  }

#pragma GCC unroll 64
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 64
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 64
      for (int v = 0; v < kPanelVectors; ++v) store(c + (p * R + i) * kPanelColumns + v * kLanes, acc[p][i][v]);
}
