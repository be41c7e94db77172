// The keys and values of one layer, in blocks of kKvBlock tokens.
#pragma once
#include "core/decoder_stages.h"
#include "cpu/aligned_buffer.h"
#include "cpu/kernels/table.h"

namespace moe::cpu {

// A block has a part for each kv head: keys [key_size][16], so that scores are vectors over keys, then values
// [16][value_size]. With values_in_keys there are only keys, a token's numbers side by side. Rows of numbers are padded
// with zeros to a multiple of 16. Of int8, the scales of the part's keys [16] and values [16] stand behind them.
class CpuKvCache final : public KvCache {
 public:
  CpuKvCache(const AttentionSpec& spec, int64_t blocks);

  size_t bytes() const override { return memory_.bytes(); }

  // Writes a token's numbers of one head. The first token of a block clears the rest of it.
  void put(int64_t block, int32_t head, int64_t slot, const float* key, const float* value);

  // Where a block's numbers of one head stand, and the scales of its keys and of its values [16]; null but for int8.
  struct Place {
    const void* keys;
    const void* values;
    const float* key_scales;
    const float* value_scales;
  };
  Place place(int64_t block, int32_t head) const;
  KvNumber number() const;
  int64_t value_stride() const { return value_stride_; }
  // Numbers of a token's value, padded.
  int64_t padded_value() const { return padded_value_; }

 private:
  std::byte* part(int64_t block, int32_t head) const {
    return memory_.data() + (block * kv_heads_ + head) * part_bytes_;
  }
  // Writes numbers [count], `step` apart, and gives the scale that they share (1 but for int8).
  float write(void* to, int64_t first, int64_t step, const float* from, int64_t count) const;

  KvType type_;
  bool values_in_keys_;
  int32_t kv_heads_;
  int64_t key_size_, value_size_, number_bytes_;
  int64_t padded_value_, value_stride_;
  int64_t values_begin_, scales_begin_, part_bytes_;
  AlignedBuffer memory_;
};

}  // namespace moe::cpu
