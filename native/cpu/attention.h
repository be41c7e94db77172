// Attention over a cache: cuts it into pieces of work, and puts them together in order.
#pragma once
#include <span>
#include <stop_token>
#include <vector>

#include "core/host/thread_pool.h"
#include "cpu/kv_cache.h"

namespace moe::cpu {

class Attention {
 public:
  explicit Attention(const Kernels& kernels) : kernels_(kernels) {}

  // As DecoderStages::attend.
  void run(const CpuKvCache& cache, const AttentionSpec& spec, Matrix queries, std::span<const Segment> segments,
           Matrix out, ThreadPool::Team& team, const std::stop_token& stop);

 private:
  // Some query heads of some consecutive tokens of a segment, all of one kv head, over a run of key blocks.
  struct Piece {
    const Segment* segment;
    int32_t kv_head;
    int64_t first_token, tokens;  // of the segment
    int64_t first_block, blocks;  // key blocks; what no row sees is skipped
    int64_t partials;             // where those of its blocks begin; -1: it has all blocks, and folds them itself
  };
  struct Rows;

  void cut(const CpuKvCache& cache, const AttentionSpec& spec, std::span<const Segment> segments, int threads);
  void run_piece(const Piece& piece, const CpuKvCache& cache, const AttentionSpec& spec, Matrix queries, Matrix out,
                 std::byte* scratch);
  // Of rows [begin, after), the `same` as at the last call for the piece: their partial softmax over the block of keys
  // from `key` on, and the values they mix.
  void attend(const Rows& rows, const Piece& piece, const CpuKvCache& cache, const AttentionSpec& spec, int64_t key,
              int64_t begin, int64_t after, bool same, Softened* softened, float* values) const;
  void fold_piece(const Piece& piece, const CpuKvCache& cache, const AttentionSpec& spec, Matrix out,
                  std::byte* scratch) const;
  void begin_rows(const Rows& rows, const Piece& piece, const AttentionSpec& spec) const;
  void end_rows(const Rows& rows, const AttentionSpec& spec, Matrix out) const;
  const Kernels& kernels_;
  std::vector<Piece> pieces_, whole_;  // whole_: those whose partials are folded afterwards
  // Of rows that several pieces share: what each block gives, [block][row] of a piece. Values are [width].
  std::vector<Softened> partial_softened_;
  Scratch scratch_{aligned_memory}, partial_values_{aligned_memory};
};

}  // namespace moe::cpu
