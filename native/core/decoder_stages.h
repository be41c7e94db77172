// What a device does for the decoder around Mixture-of-Experts layers: norms, rotation, the cache of keys and values,
// attention. T tokens of all sequences of a step together, H hidden.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>

#include "core/moe_stages.h"
#include "core/tensor.h"

namespace moe {

// How the cache holds numbers. Of int8, a token's keys of one head share a float32 scale, and its values another.
enum class KvType : uint8_t { kFloat32, kBFloat16, kInt8 };

// Tokens whose keys and values stand together in a cache.
constexpr int64_t kKvBlock = 16;
// Keys whose softmax is one partial sum: at absolute positions, so that a token's attention is the same sum in the same
// order however its sequence was cut into steps.
constexpr int64_t kKeyBlock = 64;

// A run of consecutive tokens of one sequence among the rows of a step.
struct Segment {
  int64_t first_row, rows;
  int64_t position;  // of the first row, from 0
  // The cache's block of each kKvBlock tokens of the sequence, from its start up to the segment's last; on the host,
  // read until the call returns. -1 where a window has passed.
  const int32_t* blocks;
};

// What happens to the numbers of heads, [T, heads * size], between a projection and attention, in this order: + bias;
// RMS norm; clamp to +-clip; rotation. Pointers are to device memory, or null.
struct HeadsSpec {
  int32_t heads, size;
  const float* bias = nullptr;  // [heads * size]
  enum Norm : uint8_t { kNone, kEachHead, kWholeRow } norm = kNone;
  int32_t normed = 0;                  // of a head, the first so many numbers are normed (kEachHead); 0: all
  const float* norm_weight = nullptr;  // [normed], or [heads * size]
  float norm_epsilon = 0;
  float clip = 0;       // 0: none
  int32_t rotated = 0;  // numbers of each head that are rotated; even; 0: none
  int32_t first_rotated = 0;
  bool interleaved = false;  // pairs are (2i, 2i + 1); else (i, i + rotated / 2)
};

struct AttentionSpec {
  int32_t heads, kv_heads;  // head i reads keys and values of i / (heads / kv_heads)
  int32_t key_size, value_size;
  bool values_in_keys = false;   // values are the first value_size numbers of the keys (latent attention)
  float scale = 1;               // on products of queries and keys
  int64_t window = 0;            // keys that a token sees, itself among them; 0: all before it
  const float* sinks = nullptr;  // [heads] on the device: a logit that takes probability and gives nothing
  KvType type = KvType::kBFloat16;
  int32_t threads = 0;  // 0: all of the device's
};

// Memory of a layer's keys and values, on the device; must go before it.
class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual size_t bytes() const = 0;
};

// One projection per head.
class PreparedHeads : public Prepared {};

// Stages enqueue their work, in the order of calls, and may return before it is done. Every row is computed in one
// order of sums, which depends on nothing but its own sequence.
class DecoderStages {
 public:
  virtual ~DecoderStages() = default;

  // out[r] = in[r] / sqrt(mean(in[r]^2) + epsilon) * weight; weight [cols]. `out` may be `in`.
  virtual void rms_norm(Matrix in, const float* weight, float epsilon, Matrix out) = 0;
  // into += factor * in, or factor * in where `into_is_empty`.
  virtual void add_scaled(Matrix in, float factor, bool into_is_empty, Matrix into) = 0;
  // In place. rotations: [T, rotated], the cosines of a token's pairs, then their sines; without data where nothing is
  // rotated.
  virtual void shape_heads(const HeadsSpec& spec, Matrix rotations, Matrix rows) = 0;

  virtual std::unique_ptr<KvCache> make_cache(const AttentionSpec& spec, int64_t blocks) = 0;
  // Writes keys [T, kv_heads * key_size] and values [T, kv_heads * value_size] (not read with values_in_keys) where the
  // segments' tables say. Full blocks are never written again.
  virtual void append(KvCache& cache, const AttentionSpec& spec, Matrix keys, Matrix values,
                      std::span<const Segment> segments) = 0;
  // queries [T, heads * key_size], out [T, heads * value_size]. Keys and values of the segments' own rows are in the
  // cache by then. A row whose keys are not finite becomes NaN, and no other.
  virtual void attend(const KvCache& cache, const AttentionSpec& spec, Matrix queries,
                      std::span<const Segment> segments, Matrix out, const std::stop_token& stop) = 0;

  // matrices: [heads * out_features, in_features], or [heads, in_features, out_features] read through their strides:
  // one matrix for each head, of which LinearSpec has the sizes. Not read where `packed` has them already.
  virtual std::unique_ptr<PreparedHeads> prepare_heads(const LinearSpec& spec, int32_t heads,
                                                       std::span<const WeightMatrix> matrices,
                                                       const std::optional<PackedWeights>& packed) = 0;
  // out[t][h] = matrix[h] * in[t][h]; in [T, heads * in_features], out [T, heads * out_features].
  virtual void multiply_heads(const PreparedHeads& heads, Matrix in, Matrix out, const std::stop_token& stop) = 0;
};

}  // namespace moe
