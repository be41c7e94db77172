// The stages of whole models on the CPU.
#pragma once
#include <memory>

#include "core/decoder_stages.h"
#include "core/host/thread_pool.h"
#include "cpu/attention.h"
#include "cpu/grouped_gemm.h"

namespace moe::cpu {

// Every stage has done its work when it returns.
class CpuDecoderStages final : public DecoderStages {
 public:
  CpuDecoderStages(const Kernels& kernels, ThreadPool& pool)
      : kernels_(kernels), pool_(pool), gemm_(kernels), attention_(kernels) {}

  void rms_norm(Matrix in, const float* weight, float epsilon, Matrix out) override;
  void add_scaled(Matrix in, float factor, bool into_is_empty, Matrix into) override;
  void shape_heads(const HeadsSpec& spec, Matrix rotations, Matrix rows) override;
  std::unique_ptr<KvCache> make_cache(const AttentionSpec& spec, int64_t blocks) override;
  void append(KvCache& cache, const AttentionSpec& spec, Matrix keys, Matrix values,
              std::span<const Segment> segments) override;
  void attend(const KvCache& cache, const AttentionSpec& spec, Matrix queries, std::span<const Segment> segments,
              Matrix out, const std::stop_token& stop) override;
  std::unique_ptr<PreparedHeads> prepare_heads(const LinearSpec& spec, int32_t heads,
                                               std::span<const WeightMatrix> matrices,
                                               const std::optional<PackedWeights>& packed) override;
  void multiply_heads(const PreparedHeads& heads, Matrix in, Matrix out, const std::stop_token& stop) override;

 private:
  const Kernels& kernels_;
  ThreadPool& pool_;
  GroupedGemm gemm_;
  Attention attention_;
  Scratch tiles_{aligned_memory}, rows_{aligned_memory};
  std::vector<int32_t> offsets_, slots_;  // rows sorted by head
};

}  // namespace moe::cpu
