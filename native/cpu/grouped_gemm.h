// A product per expert over rows that are sorted by expert.
#pragma once
#include <cstdint>
#include <stop_token>
#include <vector>

#include "core/host/thread_pool.h"
#include "core/tensor.h"
#include "cpu/aligned_buffer.h"
#include "cpu/kernels.h"
#include "cpu/weights.h"

namespace moe::cpu {

// Which input row each row is. Expert e owns rows [offsets[e], offsets[e + 1]).
struct RowsByExpert {
  const int32_t* offsets;      // [experts + 1], from 0
  const int32_t* slot_of_row;  // row r reads input row slot_of_row[r] / fan_out; null: input row r
  int32_t fan_out;
};

// Weights, and where their output goes.
struct Product {
  const PackedMatrices* weights;
  float* output;
};

// Cuts the rows into tiles and the products into tasks, for one set of rows at a time. Buffers are kept, so the steady
// state allocates nothing. Every loop checks `stop` at each task and throws kAborted.
class GroupedGemm {
 public:
  explicit GroupedGemm(const Kernels& kernels) : GroupedGemm(kernels, dot_kernels(kernels)) {}
  // With these products of integers beside the set's own, or none.
  GroupedGemm(const Kernels& kernels, const DotKernels* dots);

  // Sets the rows for the calls that follow. `rows` is borrowed until then.
  void set_rows(const RowsByExpert& rows, int64_t experts);
  int64_t num_rows() const { return num_rows_; }

  // Gathers input rows [.., depth] into `tiles` [rows, depth], in tile form.
  void gather(const float* input, int64_t depth, float* tiles, ThreadPool::Team& team,
              const std::stop_token& stop) const;

  // The other way: `tiles` [rows, depth] in tile form, as an activation leaves them, to `rows`, row-major.
  void scatter(const float* tiles, int64_t depth, float* rows, ThreadPool::Team& team) const;

  // tiles = activation(gate, up) [rows, columns] in tile form, of rows in row-major order; `gate` is overwritten.
  void activate(const Epilogue& epilogue, float* gate, const float* up, int64_t columns, float* tiles,
                ThreadPool::Team& team, const std::stop_token& stop) const;

  // output = epilogue(tiles * weights + bias): rows in row-major order without an activation, tile form with one.
  // tiles: [rows, depth] in tile form. output: [rows, columns]. The tiles are first rounded to
  // the type of rows that the weights are for.
  void multiply(const PackedMatrices& weights, const float* tiles, const Epilogue& epilogue, float* output,
                ThreadPool::Team& team, const std::stop_token& stop) {
    const Product product{&weights, output};
    multiply({&product, 1}, tiles, epilogue, team, stop);
  }
  // Several of the same tiles.
  void multiply(std::span<const Product> products, const float* tiles, const Epilogue& epilogue, ThreadPool::Team& team,
                const std::stop_token& stop);

 private:
  // What multiplies an expert's rows of integers, and quantises them for that: the set itself where it is null.
  const DotKernels* dots_for(const PackedMatrices& weights, int64_t expert) const;
  // Whether rows that were made for the one are what the other multiplies.
  bool read_same_rows(const PackedMatrices& a, const PackedMatrices& b) const;
  // Calls body(expert, first row, rows) for every tile; tiles of so many `floats` are worth a thread.
  template <class Body>
  void for_each_tile(int64_t depth, int64_t floats, ThreadPool::Team& team, const std::stop_token& stop,
                     const Body& body) const;
  // For products with `weights`: to int8, or to bfloat16 as floats or as pairs.
  void quantize(const float* tiles, const PackedMatrices& weights, ThreadPool::Team& team, const std::stop_token& stop);
  const float* round(const float* tiles, int64_t depth, ThreadPool::Team& team, const std::stop_token& stop);
  const uint32_t* pair(const float* tiles, int64_t depth, ThreadPool::Team& team, const std::stop_token& stop);

  // What products read: tiles, or pairs of their numbers, which have a kernel of their own.
  struct MadeRows {
    const float* tiles;
    const uint32_t* pairs;
    void (*gemm_of_pairs)(const GemmTask&);
  };
  MadeRows make_rows(const float* tiles, const PackedMatrices& weights, ThreadPool::Team& team,
                     const std::stop_token& stop);

  // Some consecutive tiles of one expert.
  struct Chunk {
    int64_t expert, first_tile, num_tiles, rows;
    int64_t tiles_before;  // in all chunks before this one
  };

  // Of products that read the same rows.
  void multiply_together(std::span<const Product> products, const float* tiles, const Epilogue& epilogue,
                         ThreadPool::Team& team, const std::stop_token& stop);
  // Where there are so many panels in all.
  int64_t panels_per_task(const PackedMatrices& weights, int64_t panels_of_all, int threads) const;
  // `panels` of a product from one on, for a chunk.
  void run_task(const Product& product, int64_t chunk, int64_t panel, int64_t panels, const MadeRows& rows,
                const Epilogue& epilogue, float* scratch) const;

  const Kernels& kernels_;
  const PairKernels* pair_kernels_;  // null where there are none
  const DotKernels* dot_kernels_;    // likewise
  int64_t scratch_floats_;           // of a thread, the most that one of them needs
  RowsByExpert rows_{};
  int64_t num_rows_ = 0;
  std::vector<Chunk> chunks_;        // the most rows first
  std::vector<int64_t> tasks_;       // of products that run together: panels of a task, tasks up to the product's end
  Scratch scratch_{aligned_memory};  // [threads, scratch_floats]
  Scratch integers_{aligned_memory}, row_scales_{aligned_memory}, row_starts_{aligned_memory}, rounded_{aligned_memory};
};

}  // namespace moe::cpu
