// The stages of decoders as plain loops over host memory: what tests of everything that drives them run on, and what a
// device is compared with.
#pragma once
#include "core/decoder_stages.h"
#include "fakes/host_device.h"

namespace moe::test {

class HostDecoder : public HostDevice, public DecoderStages {
 public:
  DecoderStages* decoder() override { return this; }

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
};

}  // namespace moe::test
