// What a decoder is: what crosses from src/binding/model.ts, which has checked it.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "core/config.h"
#include "core/decoder_stages.h"
#include "core/tensor.h"

namespace moe {

// How a dense projection is held.
struct ProjectionSpec {
  WeightType weight_type = WeightType::kFloat32;
  int32_t weight_group = 0;
  RowType row_type = RowType::kFloat32;
};

// Pair i of position p is turned by p * frequencies[i]; cosine and sine are multiplied by `factor`.
struct RotationSpec {
  std::vector<double> frequencies;
  double factor = 1.0;
  bool interleaved = false;
};

struct AttentionLayerSpec {
  enum Kind : uint8_t { kGrouped, kLatent } kind = kGrouped;
  int32_t heads = 1;
  int32_t kv_heads = 1;   // kLatent: 1
  int32_t head_size = 0;  // kGrouped: of queries, keys and values
  // kLatent: of a head's part of the query that is not rotated, of values, of the latent row, of the queries' (0:
  // none).
  int32_t nope_size = 0, value_size = 0, latent_size = 0, query_latent_size = 0;
  float latent_norm_epsilon = 0;
  float scale = 1;
  int64_t window = 0;  // 0: none
  float clip = 0;      // 0: none
  HeadsSpec::Norm norm = HeadsSpec::kNone;
  int32_t rotation = -1;     // index into DecoderSpec::rotations; -1: none
  int32_t rotated_size = 0;  // of a head: its first numbers (kGrouped), its last (kLatent)

  bool latent() const { return kind == kLatent; }
};

struct DecoderLayerSpec {
  AttentionLayerSpec attention;
  // Of a dense layer, feed_forward has nothing but a shared expert.
  bool dense = false;
  LayerSpec feed_forward;
};

// A whole model but for its layers.
struct DecoderSpec {
  int32_t hidden_size = 0;
  int32_t vocabulary_size = 0;
  int32_t layers = 0;
  float norm_epsilon = 0;
  float embedding_factor = 1, residual_factor = 1, logits_factor = 1;
  ProjectionSpec projections, head;
  KvType kv_type = KvType::kBFloat16;
  int64_t kv_tokens = 0;       // of all sequences together; a multiple of kKvBlock
  int64_t context_length = 0;  // of one sequence
  bool prefix_cache = true;
  int32_t threads = 0;
  std::vector<RotationSpec> rotations;
};

// Weights in host memory, which are read while a layer is made. Absent ones are empty.
struct AttentionWeights {
  WeightVector norm;
  WeightMatrix query, key, value;  // kGrouped; `query` of kLatent, too, where its queries have no latent row
  WeightVector query_bias, key_bias, value_bias, query_norm, key_norm, sinks;
  WeightMatrix query_down, query_up, latent_down, latent_up;  // kLatent
  // [heads * latent, nope]: what brings queries into the space of latent rows; latent_up has values only then.
  WeightMatrix latent_up_keys;
  WeightVector query_down_bias, query_down_norm, latent_down_bias, latent_norm;
  WeightMatrix output;
  WeightVector output_bias;
};

struct DecoderLayerWeights {
  AttentionWeights attention;
  WeightVector feed_forward_norm;
  LayerWeights feed_forward;
  std::optional<PackedWeights> packed;  // instead of `attention` and `feed_forward_norm`
};

// What stands before and behind the layers.
struct OuterWeights {
  WeightMatrix embedding;  // [V, H]: rows are read as tokens need them, for as long as the decoder lives
  WeightVector norm;
  WeightMatrix head;                    // [V, H]
  std::optional<PackedWeights> packed;  // instead of `norm` and `head`
};

}  // namespace moe
