#include "addon/model_arguments.h"

#include <algorithm>

#include "core/decoder/log_probabilities.h"
#include "core/error.h"

namespace moe {
namespace {

constexpr int64_t kMaxHeads = 1 << 14, kMaxHeadSize = 1 << 14;
constexpr int64_t kMaxTokens = int64_t{1} << 34;
constexpr int64_t kMaxStep = int64_t{1} << 20;

int32_t read_size(Napi::Object from, const char* name, int64_t min, int64_t max) {
  return static_cast<int32_t>(read_integer(from, name, min, max));
}

float read_float(Napi::Object from, const char* name) { return static_cast<float>(read_number(from, name)); }

ProjectionSpec read_projection(Napi::Object from) {
  return {read_weight_type(from), read_size(from, "weightGroup", 0, kMaxSize), read_row_type(from)};
}

std::vector<RotationSpec> read_rotations(Napi::Object from) {
  const Napi::Value value = from.Get("rotations");
  if (!value.IsArray()) refuse("rotations", "an array");
  std::vector<RotationSpec> rotations;
  for (uint32_t i = 0; i < value.As<Napi::Array>().Length(); ++i) {
    const Napi::Value item = value.As<Napi::Array>().Get(i);
    if (!item.IsObject()) refuse("rotations", "an array of objects");
    const auto rotation = item.As<Napi::Object>();
    const auto array = read_array(rotation, "frequencies", napi_float64_array, 1);
    if (!array) refuse("frequencies", "a Float64Array");
    const auto* const first = static_cast<const double*>(array->data);
    rotations.push_back({{first, first + array->bytes / sizeof(double)},
                         read_number(rotation, "factor"),
                         read_flag(rotation, "interleaved")});
  }
  return rotations;
}

AttentionLayerSpec read_attention(Napi::Object from, const DecoderSpec& decoder) {
  AttentionLayerSpec spec;
  spec.kind = read_word<AttentionLayerSpec::Kind>(
      from, "kind", {{"grouped", AttentionLayerSpec::kGrouped}, {"latent", AttentionLayerSpec::kLatent}});
  spec.heads = read_size(from, "heads", 1, kMaxHeads);
  spec.kv_heads = read_size(from, "kvHeads", 1, spec.heads);
  if (spec.heads % spec.kv_heads != 0) refuse("kvHeads", "a divisor of `heads`");
  const int64_t of_latent = spec.latent() ? 1 : 0;
  spec.head_size = read_size(from, "headSize", 1 - of_latent, kMaxHeadSize);
  spec.nope_size = read_size(from, "nopeSize", of_latent, kMaxHeadSize);
  spec.value_size = read_size(from, "valueSize", of_latent, kMaxHeadSize);
  spec.latent_size = read_size(from, "latentSize", of_latent, kMaxHeadSize);
  spec.query_latent_size = read_size(from, "queryLatentSize", 0, kMaxSize);
  spec.latent_norm_epsilon = read_float(from, "latentNormEpsilon");
  spec.scale = read_float(from, "scale");
  spec.window = read_integer(from, "window", 0, kMaxTokens);
  spec.clip = read_float(from, "clip");
  spec.norm = read_word<HeadsSpec::Norm>(
      from, "norm",
      {{"none", HeadsSpec::kNone}, {"each_head", HeadsSpec::kEachHead}, {"whole_row", HeadsSpec::kWholeRow}});
  spec.rotation = read_size(from, "rotation", -1, static_cast<int64_t>(decoder.rotations.size()) - 1);
  spec.rotated_size = read_size(from, "rotatedSize", of_latent, spec.latent() ? kMaxHeadSize : spec.head_size);
  if (spec.rotation < 0) return spec;
  const size_t rotated = 2 * decoder.rotations[spec.rotation].frequencies.size();
  if (static_cast<size_t>(spec.rotated_size) != rotated)
    refuse("rotatedSize", std::to_string(rotated) + ", twice the frequencies of its rotation");
  return spec;
}

AttentionWeights read_attention_views(Napi::Object from, std::vector<std::shared_ptr<MappedFile>>& files) {
  const auto matrix = [&](const char* name) { return read_matrix(from, name, files); };
  const auto vector = [&](const char* name) { return read_vector(from, name, files); };
  AttentionWeights weights;
  weights.norm = vector("norm");
  weights.query = matrix("query");
  weights.key = matrix("key");
  weights.value = matrix("value");
  weights.query_bias = vector("queryBias");
  weights.key_bias = vector("keyBias");
  weights.value_bias = vector("valueBias");
  weights.query_norm = vector("queryNorm");
  weights.key_norm = vector("keyNorm");
  weights.sinks = vector("sinks");
  weights.query_down = matrix("queryDown");
  weights.query_down_bias = vector("queryDownBias");
  weights.query_down_norm = vector("queryDownNorm");
  weights.query_up = matrix("queryUp");
  weights.latent_down = matrix("latentDown");
  weights.latent_down_bias = vector("latentDownBias");
  weights.latent_norm = vector("latentNorm");
  weights.latent_up = matrix("latentUp");
  weights.latent_up_keys = matrix("latentUpKeys");
  weights.output = matrix("output");
  weights.output_bias = vector("outputBias");
  return weights;
}

}  // namespace

Napi::Object read_object(Napi::Object from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (!value.IsObject()) refuse(name, "an object");
  return value.As<Napi::Object>();
}

std::vector<int32_t> read_integers(Napi::Object from, const char* name) {
  const auto array = read_array(from, name, napi_int32_array, 0);
  if (!array) refuse(name, "an Int32Array");
  const auto* const first = static_cast<const int32_t*>(array->data);
  return {first, first + array->bytes / sizeof(int32_t)};
}

DecoderSpec read_decoder_spec(Napi::Object from) {
  DecoderSpec spec;
  spec.hidden_size = read_size(from, "hiddenSize", 1, kMaxSize);
  spec.vocabulary_size = read_size(from, "vocabularySize", 1, kMaxSize);
  spec.layers = read_size(from, "layers", 1, 1 << 16);
  spec.norm_epsilon = read_float(from, "normEpsilon");
  spec.embedding_factor = read_float(from, "embeddingFactor");
  spec.residual_factor = read_float(from, "residualFactor");
  spec.logits_factor = read_float(from, "logitsFactor");
  spec.projections = read_projection(read_object(from, "projections"));
  spec.head = read_projection(read_object(from, "head"));
  spec.kv_type = read_word<KvType>(
      from, "kvType", {{"float32", KvType::kFloat32}, {"bfloat16", KvType::kBFloat16}, {"int8", KvType::kInt8}});
  spec.kv_tokens = read_integer(from, "kvTokens", kKvBlock, kMaxTokens);
  if (spec.kv_tokens % kKvBlock != 0) refuse("kvTokens", "a multiple of " + std::to_string(kKvBlock));
  spec.context_length = read_integer(from, "contextLength", 1, kMaxTokens);
  spec.prefix_cache = read_flag(from, "prefixCache");
  spec.threads = read_size(from, "threads", 0, 4096);
  spec.rotations = read_rotations(from);
  return spec;
}

DecoderLayerSpec read_decoder_layer(Napi::Object from, const DecoderSpec& decoder) {
  const Napi::Object feed_forward = read_object(from, "feedForward");
  return {read_attention(read_object(from, "attention"), decoder),
          read_word<bool>(feed_forward, "kind", {{"moe", false}, {"dense", true}}),
          read_spec(read_object(feed_forward, "spec"))};
}

DecoderLayerArguments read_decoder_views(Napi::Object from) {
  DecoderLayerArguments read;
  read.weights.packed = read_packed(from, read.files);
  if (!read.weights.packed) {
    read.weights.attention = read_attention_views(read_object(from, "attention"), read.files);
    read.weights.feed_forward_norm = read_vector(from, "feedForwardNorm", read.files);
  }
  WeightArguments experts = read_weights(read_object(from, "feedForward"));
  read.weights.feed_forward = std::move(experts.weights);
  read.files.insert(read.files.end(), experts.files.begin(), experts.files.end());
  return read;
}

OuterArguments read_outer_views(Napi::Object from) {
  OuterArguments read;
  read.weights.embedding = read_matrix(from, "embedding", read.of_embedding);
  read.weights.packed = read_packed(from, read.files);
  if (read.weights.packed) return read;
  read.weights.norm = read_vector(from, "norm", read.files);
  read.weights.head = read_matrix(from, "head", read.files);
  return read;
}

SamplingOptions read_sampling(Napi::Object from, int32_t vocabulary_size) {
  SamplingOptions options;
  options.temperature = read_number(from, "temperature");
  options.top_k = read_integer(from, "topK", 0, INT32_MAX);
  options.top_p = read_number(from, "topP");
  options.min_p = read_number(from, "minP");
  options.repetition_penalty = read_number(from, "repetitionPenalty");
  options.presence_penalty = read_number(from, "presencePenalty");
  options.frequency_penalty = read_number(from, "frequencyPenalty");
  const std::vector<int32_t> biased = read_integers(from, "biasTokens");
  const auto values = read_array(from, "biasValues", napi_float32_array, biased.size());
  if (!values) refuse("biasValues", "a Float32Array");
  for (size_t i = 0; i < biased.size(); ++i) {
    if (biased[i] < 0 || biased[i] >= vocabulary_size)
      refuse("biasTokens", "from 0 to " + std::to_string(vocabulary_size - 1) + ", got " + std::to_string(biased[i]));
    options.bias.emplace_back(biased[i], static_cast<const float*>(values->data)[i]);
  }
  options.stop_tokens = read_integers(from, "stopTokens");  // those that are no tokens are never sampled anyway
  std::erase_if(options.stop_tokens, [&](int32_t token) { return token < 0 || token >= vocabulary_size; });
  options.min_tokens = read_integer(from, "minTokens", 0, kMaxTokens);
  options.vocabulary = read_size(from, "vocabulary", 1, vocabulary_size);
  const Napi::Value seed = from.Get("seed");
  if (!seed.IsBigInt()) refuse("seed", "a bigint");
  bool lossless = false;
  options.seed = seed.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) refuse("seed", "from 0 to 2^64 - 1");
  options.choice = read_size(from, "choice", 0, INT32_MAX);
  options.logprobs = read_size(from, "logprobs", -1, kMaxTopTokens);
  return options;
}

StepArguments read_step(Napi::Object from, const DecoderSpec& spec) {
  StepArguments read{
      {read_integers(from, "sequences"), read_integers(from, "counts")}, {}, Napi::Array::New(from.Env())};
  const size_t sequences = read.step.sequences.size();
  if (read.step.counts.size() != sequences) refuse("counts", "a count for each sequence");
  int64_t rows = 0;
  for (const int32_t count : read.step.counts) {
    if (count < 1 || count > kMaxStep - rows) refuse("counts", "at least 1, and 2^20 together at most");
    rows += count;
  }
  const auto borrow = [&]<class T>(T*& to, const char* name, napi_typedarray_type type, size_t count) {
    const auto array = read_array(from, name, type, count);
    if (!array) return;
    to = static_cast<T*>(array->data);
    read.arrays.Set(read.arrays.Length(), from.Get(name));
  };
  const auto all = static_cast<size_t>(rows);
  StepOutput& out = read.output;
  borrow(out.sampled, "sampled", napi_int32_array, sequences);
  borrow(out.logprobs, "logprobs", napi_float32_array, sequences);
  borrow(out.top_tokens, "topTokens", napi_int32_array, sequences * kMaxTopTokens);
  borrow(out.top_logprobs, "topLogprobs", napi_float32_array, sequences * kMaxTopTokens);
  borrow(out.logits, "logits", napi_float32_array, all * static_cast<size_t>(spec.vocabulary_size));
  borrow(out.next_logprobs, "nextLogprobs", napi_float32_array, all);
  borrow(out.block_inputs, "blockInputs", napi_float32_array,
         all * static_cast<size_t>(spec.layers) * static_cast<size_t>(spec.hidden_size));
  if (sequences > 0 && !out.sampled) refuse("sampled", "an Int32Array");
  return read;
}

}  // namespace moe
