// The keys and values of one layer, in blocks of kKvBlock tokens.
#pragma once
#include "core/decoder_stages.h"
#include "cpu/aligned_buffer.h"
#include "cpu/kernels/table.h"

namespace moe::cpu {

// A block has a part for each kv head: words of keys [key_size / n][16], so that scores are vectors over keys, then
// words of values [16 / n][value_size], where a word of 32 bits holds n numbers: of a key, or of n keys. With
// values_in_keys there are only keys, a token's numbers side by side. Rows of numbers are padded with zeros to a
// multiple of 16. Of int8, 16 scales stand before the keys and before the values.
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
  // Where scales and keys begin, and scales and values.
  std::byte* keys(int64_t block, int32_t head) const {
    return memory_.data() + (block * kv_heads_ + head) * (keys_bytes_ + values_bytes_);
  }
  std::byte* values(int64_t block, int32_t head) const { return keys(block, head) + keys_bytes_; }
  // Writes numbers [count], number i at to[place_of(i)], and gives the scale that they share (1 but for int8).
  template <class PlaceOf>
  float write(void* to, PlaceOf place_of, const float* from, int64_t count) const;

  KvType type_;
  bool values_in_keys_;
  int32_t kv_heads_;
  int64_t key_size_, value_size_;
  int64_t padded_value_, value_stride_;
  int64_t keys_bytes_, values_bytes_;  // of a block and head
  AlignedBuffer memory_;
};

}  // namespace moe::cpu
