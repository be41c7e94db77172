// Small models of every kind of layer, and what steps of them give.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <list>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "core/decoder/decoder.h"
#include "core/decoder/log_probabilities.h"
#include "core/error.h"

namespace moe::test {

struct TinyOptions {
  const char* name;
  bool latent = false;
  int32_t query_latent = 0;
  std::vector<int64_t> windows = {0, 0};  // of each layer
  bool biases = false, sinks = false;
  HeadsSpec::Norm norm = HeadsSpec::kNone;
  KvType kv_type = KvType::kFloat32;
  ProjectionSpec held{};
  int64_t kv_tokens = 512;
  bool prefix_cache = true;
};

// The first layer is dense, the others have experts and a shared one.
class TinyDecoder {
 public:
  static constexpr int32_t kHidden = 32, kVocabulary = 61, kHeads = 4, kHeadSize = 16, kRotated = 8;
  static constexpr int64_t kContext = 400;

  explicit TinyDecoder(const TinyOptions& options) : options_(options) {
    spec_.hidden_size = kHidden;
    spec_.vocabulary_size = kVocabulary;
    spec_.layers = static_cast<int32_t>(options.windows.size());
    spec_.norm_epsilon = 1e-5f;
    spec_.embedding_factor = 1.5f;
    spec_.residual_factor = 0.75f;
    spec_.logits_factor = 3.0f;
    spec_.projections = options.held;
    spec_.kv_type = options.kv_type;
    spec_.kv_tokens = options.kv_tokens;
    spec_.context_length = kContext;
    spec_.prefix_cache = options.prefix_cache;
    RotationSpec rotation;
    for (int pair = 0; pair < kRotated / 2; ++pair) rotation.frequencies.push_back(std::pow(100.0, -pair / 4.0));
    rotation.interleaved = options.latent;
    spec_.rotations.push_back(rotation);
  }

  std::unique_ptr<Decoder> make(Device& device) {
    random_.seed(5);
    auto decoder = std::make_unique<Decoder>(device, spec_);
    for (size_t layer = 0; layer < options_.windows.size(); ++layer)
      decoder->add_layer(layer_spec(layer), layer_weights(layer), [](int64_t, int64_t) {}, {});
    embedding_ = matrix(kVocabulary, kHidden);
    decoder->finish({embedding_, vector(kHidden), matrix(kVocabulary, kHidden), {}});
    return decoder;
  }

  // The embedding of a token, which the decoder reads when it needs it.
  float* embedding(int32_t token) {
    return static_cast<float*>(const_cast<void*>(embedding_.data)) + static_cast<ptrdiff_t>(token) * kHidden;
  }

  DecoderLayerSpec layer_spec(size_t layer) const {
    DecoderLayerSpec spec;
    AttentionLayerSpec& attention = spec.attention;
    attention.kind = options_.latent ? AttentionLayerSpec::kLatent : AttentionLayerSpec::kGrouped;
    attention.heads = kHeads;
    attention.kv_heads = options_.latent ? 1 : 2;
    attention.head_size = kHeadSize;
    attention.nope_size = 12;
    attention.value_size = 10;
    attention.latent_size = 16;
    attention.query_latent_size = options_.query_latent;
    attention.latent_norm_epsilon = 1e-6f;
    attention.scale = 0.25f;
    attention.window = options_.windows[layer];
    attention.norm = options_.norm;
    attention.rotation = 0;
    attention.rotated_size = kRotated;
    spec.dense = layer == 0;
    LayerSpec& forward = spec.feed_forward;
    forward.hidden_size = kHidden;
    forward.intermediate_size = 16;
    forward.shared_size = 24;
    forward.moe.expert_num = spec.dense ? 1 : 6;
    forward.moe.num_experts_chosen = spec.dense ? 1 : 2;
    forward.moe.routing_policy = RoutingPolicy::kTopkRouterV2;
    forward.moe.capacity_factor = -1;
    forward.weight_type = options_.held.weight_type;
    forward.weight_group = options_.held.weight_group;
    return spec;
  }

  DecoderLayerWeights layer_weights(size_t layer) {
    const AttentionLayerSpec spec = layer_spec(layer).attention;
    DecoderLayerWeights weights;
    AttentionWeights& attention = weights.attention;
    attention.norm = vector(kHidden);
    if (options_.latent)
      latent_weights(spec, attention);
    else
      grouped_weights(spec, attention);
    attention.output_bias = bias(kHidden);
    weights.feed_forward_norm = vector(kHidden);
    if (layer > 0) weights.feed_forward.router = matrix(6, kHidden);
    for (int expert = 0; expert < 6 && layer > 0; ++expert) weights.feed_forward.experts.push_back(expert_weights(16));
    weights.feed_forward.shared = expert_weights(24);
    return weights;
  }

  const DecoderSpec& spec() const { return spec_; }

 private:
  void grouped_weights(const AttentionLayerSpec& spec, AttentionWeights& weights) {
    const int64_t queries = spec.heads * spec.head_size, keys = spec.kv_heads * spec.head_size;
    weights.query = matrix(queries, kHidden);
    weights.key = matrix(keys, kHidden);
    weights.value = matrix(keys, kHidden);
    weights.query_bias = bias(queries);
    weights.key_bias = bias(keys);
    weights.value_bias = bias(keys);
    const bool whole = spec.norm == HeadsSpec::kWholeRow;
    if (spec.norm != HeadsSpec::kNone) {
      weights.query_norm = vector(whole ? queries : spec.head_size);
      weights.key_norm = vector(whole ? keys : spec.head_size);
    }
    if (options_.sinks) weights.sinks = vector(spec.heads);
    weights.output = matrix(kHidden, queries);
  }

  void latent_weights(const AttentionLayerSpec& spec, AttentionWeights& weights) {
    const int64_t queries = spec.heads * (spec.nope_size + spec.rotated_size);
    if (spec.query_latent_size > 0) {
      weights.query_down = matrix(spec.query_latent_size, kHidden);
      weights.query_down_bias = bias(spec.query_latent_size);
      weights.query_down_norm = vector(spec.query_latent_size);
      weights.query_up = matrix(queries, spec.query_latent_size);
    } else {
      weights.query = matrix(queries, kHidden);
    }
    weights.latent_down = matrix(spec.latent_size + spec.rotated_size, kHidden);
    weights.latent_down_bias = bias(spec.latent_size + spec.rotated_size);
    weights.latent_norm = vector(spec.latent_size);
    weights.latent_up = matrix(spec.heads * (spec.nope_size + spec.value_size), spec.latent_size);
    weights.output = matrix(kHidden, spec.heads * spec.value_size);
  }

  const float* values(int64_t count, float around, float spread) {
    std::vector<float>& made = storage_.emplace_back(count);
    for (float& value : made) value = around + std::uniform_real_distribution<float>(-spread, spread)(random_);
    return made.data();
  }
  WeightMatrix matrix(int64_t rows, int64_t cols) {
    return {values(rows * cols, 0, std::sqrt(3.0f / static_cast<float>(cols))), DType::kFloat32, rows, cols, cols, 1};
  }
  WeightVector vector(int64_t size) { return {values(size, 1, 0.5f), DType::kFloat32, size, 1}; }
  WeightVector bias(int64_t size) {
    if (!options_.biases) return {};
    return {values(size, 0, 0.5f), DType::kFloat32, size, 1};
  }
  ExpertWeights expert_weights(int64_t width) {
    ExpertWeights weights;
    weights.gate = matrix(width, kHidden);
    weights.up = matrix(width, kHidden);
    weights.down = matrix(kHidden, width);
    return weights;
  }

  TinyOptions options_;
  DecoderSpec spec_;
  std::mt19937 random_;
  std::list<std::vector<float>> storage_;
  WeightMatrix embedding_;
};

inline std::vector<TinyOptions> tiny_models() {
  return {{.name = "grouped", .norm = HeadsSpec::kEachHead},
          {.name = "biases", .biases = true, .norm = HeadsSpec::kWholeRow},
          {.name = "windows", .windows = {20, 0, 20, 33}, .biases = true, .sinks = true},
          {.name = "only_windows", .windows = {17, 40}},
          {.name = "latent", .latent = true},
          {.name = "latent_queries", .latent = true, .query_latent = 20, .biases = true}};
}

// A decoder in use.
class TinyEngine {
 public:
  TinyEngine(Device& device, const TinyOptions& options)
      : model(options), decoder(model.make(device)), workspace_(device) {}

  Admission admit(const std::vector<int32_t>& tokens, int64_t new_tokens, SamplingOptions sampling = {}) {
    sampling.vocabulary = TinyDecoder::kVocabulary;
    const auto admission = decoder->sequences().admit(tokens, new_tokens, sampling);
    if (!admission) throw Error(ErrorCode::kQueueFull, "There is no room");
    return *admission;
  }
  // Logits of every row of the step.
  std::vector<float> logits(const Step& step, const std::stop_token& stop = {}) {
    const auto rows = std::accumulate(step.counts.begin(), step.counts.end(), int64_t{0});
    std::vector<float> values(rows * TinyDecoder::kVocabulary);
    StepOutput out;
    out.logits = values.data();
    run(step, out, stop);
    return values;
  }
  std::vector<int32_t> run(const Step& step, StepOutput out = {}, const std::stop_token& stop = {}) {
    std::vector<int32_t> sampled(step.sequences.size(), -7);
    out.sampled = sampled.data();
    decoder->step(workspace_, step, out, stop);
    return sampled;
  }
  // Logits of all of a prompt's rows, fed in pieces of these sizes, the last again and again.
  std::vector<float> logits_in_pieces(const std::vector<int32_t>& tokens, const std::vector<int32_t>& pieces) {
    const Admission admission = admit(tokens, 0);
    std::vector<float> all;
    auto left = static_cast<int32_t>(tokens.size() - admission.cached);
    for (size_t piece = 0; left > 0; ++piece) {
      const int32_t count = std::min(left, pieces[std::min(piece, pieces.size() - 1)]);
      const std::vector<float> some = logits({{admission.sequence}, {count}});
      all.insert(all.end(), some.begin(), some.end());
      left -= count;
    }
    decoder->sequences().release(admission.sequence);
    return all;
  }

  TinyDecoder model;
  std::unique_ptr<Decoder> decoder;

 private:
  Workspace workspace_;
};

inline std::vector<int32_t> random_tokens(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % TinyDecoder::kVocabulary);
  return tokens;
}

}  // namespace moe::test
