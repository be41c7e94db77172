// A product per expert over rows that are sorted by expert.
#pragma once
#include <cstdint>
#include <stop_token>
#include <vector>

#include "core/host/thread_pool.h"
#include "core/tensor.h"
#include "cpu/aligned_buffer.h"
#include "cpu/kernels/table.h"
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
  explicit GroupedGemm(const Kernels& kernels) : kernels_(kernels) {}

  // Sets the rows for the calls that follow. `rows` is borrowed until then.
  void set_rows(const RowsByExpert& rows, int64_t experts);
  int64_t num_rows() const { return num_rows_; }

  // Gathers input rows [.., depth] into `tiles` [rows, depth], in tile form.
  void gather(const float* input, int64_t depth, float* tiles, ThreadPool::Team& team,
              const std::stop_token& stop) const;

  // The other way: `tiles` [rows, depth] in tile form, as an activation leaves them, to `rows`, row-major.
  void scatter(const float* tiles, int64_t depth, float* rows, ThreadPool::Team& team) const;

  // output = epilogue(tiles * weights + bias): rows in row-major order without an activation, tile form with one.
  // tiles: [rows, depth] in tile form. output: [rows, columns]. Weights for integer products have the tiles quantised
  // first.
  void multiply(const PackedMatrices& weights, const float* tiles, const Epilogue& epilogue, float* output,
                ThreadPool::Team& team, const std::stop_token& stop) {
    const Product product{&weights, output};
    multiply({&product, 1}, tiles, epilogue, team, stop);
  }
  // Several of the same tiles.
  void multiply(std::span<const Product> products, const float* tiles, const Epilogue& epilogue, ThreadPool::Team& team,
                const std::stop_token& stop);

 private:
  // Calls body(first row, rows) for every tile; tiles of so many `floats` are worth a thread.
  template <class Body>
  void for_each_tile(int64_t depth, int64_t floats, ThreadPool::Team& team, const std::stop_token& stop,
                     const Body& body) const;
  // For products with `weights`.
  void quantize(const float* tiles, const PackedMatrices& weights, ThreadPool::Team& team, const std::stop_token& stop);

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
  void run_task(const Product& product, int64_t chunk, int64_t panel, int64_t panels, const float* tiles,
                const Epilogue& epilogue, float* scratch) const;

  const Kernels& kernels_;
  RowsByExpert rows_{};
  int64_t num_rows_ = 0;
  std::vector<Chunk> chunks_;        // the most rows first
  std::vector<int64_t> tasks_;       // of products that run together: panels of a task, tasks up to the product's end
  Scratch scratch_{aligned_memory};  // [threads, scratch_floats]
  Scratch integers_{aligned_memory}, row_scales_{aligned_memory}, row_starts_{aligned_memory};
};

}  // namespace moe::cpu
