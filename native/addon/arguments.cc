#include "addon/arguments.h"

#include <algorithm>
#include <cmath>

#include "addon/quantised_arguments.h"
#include "core/error.h"
#include "core/weight_format.h"

namespace moe {

void refuse(const std::string& name, const std::string& expected) {
  throw Error(ErrorCode::kShape, "Expected `" + name + "` to be " + expected);
}

namespace {

// It is 0 for types that nothing is ever passed in.
size_t element_bytes(napi_typedarray_type type) {
  switch (type) {
    case napi_float64_array:
      return 8;
    case napi_float32_array:
    case napi_int32_array:
    case napi_uint32_array:
      return 4;
    case napi_uint16_array:
      return 2;
    default:
      return 0;
  }
}

bool is_detached(Napi::Env env, napi_value buffer) {
  bool detached = false;
  return napi_is_detached_arraybuffer(env, buffer, &detached) == napi_ok && detached;
}

std::vector<AuxLoss> read_aux_losses(Napi::Object from, int64_t experts) {
  const Napi::Array list = from.Get("auxLosses").As<Napi::Array>();
  std::vector<AuxLoss> losses;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object loss = list.Get(i).As<Napi::Object>();
    const int64_t groups = read_integer(loss, "expertGroups", 1, experts);
    if (experts % groups != 0) refuse("expertGroups", "a divisor of `expertNum`");
    losses.push_back({read_number(loss, "factor"), static_cast<int32_t>(groups)});
  }
  return losses;
}

MoEConfig read_config(Napi::Object from) {
  MoEConfig config;
  config.expert_num = static_cast<int32_t>(read_integer(from, "expertNum", 1, kMaxSize));
  config.capacity_factor = read_number(from, "capacityFactor");
  config.aux_loss_factor = read_number(from, "auxLossFactor");
  config.zero_expert_num = static_cast<int32_t>(read_integer(from, "zeroExpertNum", 0, kMaxSize));
  config.num_experts_chosen = static_cast<int32_t>(read_integer(from, "numExpertsChosen", 1, config.router_rows()));
  config.always_chosen_expert_num = static_cast<int32_t>(
      read_integer(from, "alwaysChosenExpertNum", 0, std::min(config.num_experts_chosen, config.expert_num) - 1));
  config.tokens_per_group = read_integer(from, "tokensPerGroup", 0, INT64_C(1) << 53);
  config.routing_policy = read_word<RoutingPolicy>(
      from, "routingPolicy",
      {{"TopkRouterV1", RoutingPolicy::kTopkRouterV1}, {"TopkRouterV2", RoutingPolicy::kTopkRouterV2}});
  config.score_function = read_word<ScoreFunction>(from, "scoreFunction",
                                                   {{"softmax", ScoreFunction::kSoftmax},
                                                    {"sigmoid", ScoreFunction::kSigmoid},
                                                    {"sqrtsoftplus", ScoreFunction::kSqrtSoftplus},
                                                    {"sparsemixer", ScoreFunction::kSparseMixer}});
  if (config.score_function == ScoreFunction::kSparseMixer && config.num_experts_chosen != 2)
    refuse("numExpertsChosen", "2 with `sparsemixer`");
  config.topk_method = read_word<TopkMethod>(from, "topkMethod",
                                             {{"greedy", TopkMethod::kGreedy},
                                              {"group_limited_greedy", TopkMethod::kGroupLimitedGreedy},
                                              {"noaux_tc", TopkMethod::kNoauxTc}});
  config.n_group = static_cast<int32_t>(read_integer(from, "nGroup", 1, config.expert_num));
  config.topk_group = static_cast<int32_t>(read_integer(from, "topkGroup", 1, config.n_group));
  if (config.expert_num % config.n_group != 0) refuse("nGroup", "a divisor of `expertNum`");
  config.exclude_masked_groups = read_flag(from, "excludeMaskedGroups");
  config.balance_via_topk_bias = read_flag(from, "balanceViaTopkBias");
  config.norm_topk_prob = read_flag(from, "normTopkProb");
  config.norm_topk_epsilon = read_number(from, "normTopkEpsilon");
  config.routed_scaling_factor = read_number(from, "routedScalingFactor");
  config.enable_sdrop = read_flag(from, "enableSdrop");
  config.capacity_multiple = static_cast<int32_t>(read_integer(from, "capacityMultiple", 1, INT32_MAX));
  config.aux_losses = read_aux_losses(from, config.expert_num);
  config.z_loss_factor = read_number(from, "zLossFactor");
  config.sparsemixer_epsilon = read_number(from, "sparsemixerEpsilon");
  config.logit_soft_cap = read_number(from, "logitSoftCap");
  config.choose_by_logit = read_flag(from, "chooseByLogit");
  config.norm_topk_single = read_flag(from, "normTopkSingle");
  config.weight_on_input = read_flag(from, "weightOnInput");
  config.shared_expert_scale = read_number(from, "sharedExpertScale");
  config.expert_capacity = read_integer(from, "expertCapacity", 0, INT64_C(1) << 53);
  // These know of real experts only.
  const bool beside = config.topk_method != TopkMethod::kGreedy || !config.aux_losses.empty();
  if (config.zero_expert_num > 0 && beside) refuse("zeroExpertNum", "0 with groups or balance losses");
  return config;
}

Activation read_activation(Napi::Object from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (!value.IsObject()) refuse(name, "an object");
  const auto object = value.As<Napi::Object>();
  const auto kind = read_word<ActivationKind>(object, "kind",
                                              {{"swiglu", ActivationKind::kSwiGLU},
                                               {"swiglu_oai", ActivationKind::kSwiGLUOai},
                                               {"geglu", ActivationKind::kGeGLU},
                                               {"geglu_tanh", ActivationKind::kGeGLUTanh},
                                               {"gelu", ActivationKind::kGELU},
                                               {"gelu_tanh", ActivationKind::kGELUTanh},
                                               {"relu", ActivationKind::kReLU},
                                               {"relu2", ActivationKind::kReLU2},
                                               {"silu", ActivationKind::kSiLU}});
  return {kind, static_cast<float>(read_number(object, "alpha")), static_cast<float>(read_number(object, "limit")),
          read_word<Clamp>(object, "clamp", {{"before", Clamp::kBefore}, {"after", Clamp::kAfter}})};
}

}  // namespace

Borrowed read_source(Napi::Object view, std::vector<std::shared_ptr<MappedFile>>& files) {
  const auto offset = static_cast<size_t>(read_integer(view, "byteOffset", 0, INT64_C(1) << 53));
  const Napi::Value source = view.Get("source");
  Borrowed memory;
  if (const auto file = FileObject::from(source)) {
    if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(file);
    memory = {const_cast<uint8_t*>(file->data()), file->size()};
  } else if (source.IsTypedArray()) {
    const auto array = source.As<Napi::TypedArray>();
    const size_t length = array.ElementLength();
    const napi_typedarray_type type = array.TypedArrayType();
    memory = *read_array(view, "source", type, length);
  } else {
    refuse("source", "a typed array or a mapped file");
  }
  if (offset > memory.bytes) refuse("byteOffset", "inside its source");
  return {static_cast<uint8_t*>(memory.data) + offset, memory.bytes - offset};
}

void expect_inside(const char* name, const Borrowed& memory, DType dtype, int64_t count0, int64_t stride0,
                   int64_t count1, int64_t stride1) {
  __int128 last = static_cast<__int128>(count0 - 1) * stride0 + static_cast<__int128>(count1 - 1) * stride1;
  if ((last + 1) * bits_of(dtype) > static_cast<__int128>(memory.bytes) * 8)
    refuse(name, "inside its source of " + std::to_string(memory.bytes) + " bytes");
}

DType read_stored_type(Napi::Object from, const char* name) {
  return read_word<DType>(from, name,
                          {{"float32", DType::kFloat32},
                           {"bfloat16", DType::kBFloat16},
                           {"float16", DType::kFloat16},
                           {"float8_e4m3", DType::kFloat8E4M3},
                           {"float4_e2m1", DType::kFloat4E2M1},
                           {"float8_e8m0", DType::kFloat8E8M0},
                           {"int8", DType::kInt8},
                           {"uint8", DType::kUInt8},
                           {"uint4", DType::kUInt4},
                           {"uint2", DType::kUInt2},
                           {"uint3", DType::kUInt3},
                           {"uint5", DType::kUInt5},
                           {"uint6", DType::kUInt6}});
}

WeightType read_weight_type(Napi::Object from) {
  const std::string text = read_text(from, "weightType");
  for (const WeightFormat& format : weight_formats())
    if (text == format.name) return format.type;
  if (text == kPublishedName) return WeightType::kPublished;
  refuse("weightType", "one of the known words, got `" + text + "`");
}

RowType read_row_type(Napi::Object from) {
  const std::string text = read_text(from, "activationType");
  for (size_t type = 0; type < std::size(kRowTypeNames); ++type)
    if (text == kRowTypeNames[type]) return static_cast<RowType>(type);
  refuse("activationType", "one of the known words, got `" + text + "`");
}

namespace {

RowOrder read_order(Napi::Object view, int64_t out_features) {
  if (view.Get("pairedRows").IsUndefined()) return {};
  const int64_t size = read_integer(view, "pairedRows", 2, out_features);
  if (size % 2 != 0 || out_features % size != 0) refuse("pairedRows", "even, a divisor of `outFeatures`");
  return {.count = size, .step = size, .first = 0, .paired = true};
}

}  // namespace

WeightMatrix read_matrix(Napi::Object from, const char* name, std::vector<std::shared_ptr<MappedFile>>& files) {
  const Napi::Value value = from.Get(name);
  if (value.IsUndefined()) return {};
  if (!value.IsObject()) refuse(name, "a matrix view");
  const Napi::Object view = value.As<Napi::Object>();
  const Borrowed memory = read_source(view, files);
  const BlockType* const blocks = read_block_type(view);
  WeightMatrix matrix{memory.data,
                      blocks ? DType::kBlocks : read_stored_type(view, "dtype"),
                      read_integer(view, "outFeatures", 1, kMaxSize),
                      read_integer(view, "inFeatures", 1, kMaxSize),
                      read_integer(view, "outStride", 0, INT64_C(1) << 53),
                      read_integer(view, "inStride", 0, INT64_C(1) << 53)};
  matrix.first_out = view.Get("firstOut").IsUndefined() ? 0 : read_integer(view, "firstOut", 0, kMaxSize);
  matrix.order = read_order(view, matrix.out_features);
  matrix.blocks = blocks;
  matrix.scales.factor = read_block_factor(view, blocks);
  if (const auto importance =
          read_array(view, "importance", napi_float32_array, static_cast<size_t>(matrix.in_features)))
    matrix.importance = static_cast<const float*>(importance->data);
  const bool named = !view.Get("name").IsUndefined();
  if (blocks) {
    for (const char* const other : {"packing", "scales", "zeros", "zero"})
      if (!view.Get(other).IsUndefined()) refuse(other, "left out with blocks");
    if (named) matrix.scales.name = std::make_shared<const std::string>(read_text(view, "name"));
    expect_blocks_inside(name, memory, matrix);
    return matrix;
  }
  matrix.packing = read_packing(view);
  expect_packed_inside(name, memory, matrix.dtype, matrix.packing, matrix.first_out + matrix.out_features,
                       matrix.out_stride, matrix.in_features, matrix.in_stride);
  read_quantisation(view, matrix, files);
  return matrix;
}

WeightVector read_vector(Napi::Object from, const char* name, std::vector<std::shared_ptr<MappedFile>>& files) {
  const Napi::Value value = from.Get(name);
  if (value.IsUndefined()) return {};
  if (!value.IsObject()) refuse(name, "a vector view");
  const Napi::Object view = value.As<Napi::Object>();
  const Borrowed memory = read_source(view, files);
  WeightVector vector{memory.data, read_dtype(view, "dtype"), read_integer(view, "size", 1, kMaxSize),
                      read_integer(view, "stride", 0, INT64_C(1) << 53)};
  expect_inside(name, memory, vector.dtype, vector.size, vector.stride, 1, 0);
  return vector;
}

namespace {

ExpertWeights read_expert(Napi::Object from, std::vector<std::shared_ptr<MappedFile>>& files) {
  return {read_matrix(from, "gate", files),   read_matrix(from, "up", files),
          read_matrix(from, "down", files),   read_vector(from, "gateBias", files),
          read_vector(from, "upBias", files), read_vector(from, "downBias", files)};
}

}  // namespace

// Parts stand in files only: an array may be written to once the layer is made.
std::optional<PackedWeights> read_packed(Napi::Object from, std::vector<std::shared_ptr<MappedFile>>& files) {
  const Napi::Value value = from.Get("packed");
  if (value.IsUndefined()) return std::nullopt;
  if (!value.IsObject()) refuse("packed", "an object");
  const auto object = value.As<Napi::Object>();
  PackedWeights packed{read_text(object, "layout"), {}, {}, {}};
  const Napi::Value list = object.Get("parts");
  if (!list.IsArray()) refuse("parts", "an array");
  const auto parts = list.As<Napi::Array>();
  std::vector<std::shared_ptr<MappedFile>> mapped;
  for (uint32_t i = 0; i < parts.Length(); ++i) {
    if (!parts.Get(i).IsObject()) refuse("parts", "an array of objects");
    const auto part = parts.Get(i).As<Napi::Object>();
    const auto file = FileObject::from(part.Get("source"));
    if (!file) refuse("source", "a mapped file");
    const Borrowed memory = read_source(part, files);
    const auto bytes = static_cast<size_t>(read_integer(part, "byteLength", 0, INT64_C(1) << 53));
    if (bytes > memory.bytes) refuse("byteLength", "inside its source");
    packed.parts.push_back({read_text(part, "name"), memory.data, bytes});
    mapped.push_back(file);
  }
  packed.memory = std::make_shared<std::vector<std::shared_ptr<MappedFile>>>(std::move(mapped));
  return packed;
}

double read_number(Napi::Object from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (!value.IsNumber()) refuse(name, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

bool read_flag(Napi::Object from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (!value.IsBoolean()) refuse(name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string read_text(Napi::Object from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (!value.IsString()) refuse(name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

int64_t read_integer(Napi::Object from, const char* name, int64_t min, int64_t max) {
  const double number = read_number(from, name);
  if (!(std::floor(number) == number && number >= static_cast<double>(min) && number <= static_cast<double>(max)))
    refuse(name, "an integer from " + std::to_string(min) + " to " + std::to_string(max));
  return static_cast<int64_t>(number);
}

size_t to_size(const Napi::Value& value, const char* name) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= 0x1p53 && std::floor(number) == number)) refuse(name, "an integer of at least 0");
  return static_cast<size_t>(number);
}

DType read_dtype(Napi::Object from, const char* name) {
  return read_word<DType>(from, name,
                          {{"float32", DType::kFloat32}, {"bfloat16", DType::kBFloat16}, {"float16", DType::kFloat16}});
}

std::optional<Borrowed> read_array(Napi::Object from, const char* name, napi_typedarray_type type, size_t count) {
  const Napi::Value value = from.Get(name);
  if (value.IsUndefined()) return std::nullopt;
  if (!value.IsTypedArray()) refuse(name, "a typed array");
  const Napi::Env env = from.Env();
  napi_typedarray_type actual;
  size_t length, offset;
  void* data;
  napi_value buffer;
  if (napi_get_typedarray_info(env, value, &actual, &length, &data, &buffer, &offset) != napi_ok)
    refuse(name, "a typed array");
  if (actual != type) refuse(name, "an array of another element type");
  if (is_detached(env, buffer)) refuse(name, "an array whose buffer is not detached");
  if (length < count)
    refuse(name, "an array of at least " + std::to_string(count) + " elements, got " + std::to_string(length));
  return Borrowed{data, length * element_bytes(type)};
}

LayerSpec read_spec(Napi::Object from) {
  LayerSpec spec;
  spec.moe = read_config(from.Get("moe").As<Napi::Object>());
  spec.hidden_size = static_cast<int32_t>(read_integer(from, "hiddenSize", 1, kMaxSize));
  spec.intermediate_size = static_cast<int32_t>(read_integer(from, "intermediateSize", 1, kMaxSize));
  spec.shared_size = static_cast<int32_t>(read_integer(from, "sharedSize", 0, kMaxSize));
  spec.latent_size = static_cast<int32_t>(read_integer(from, "latentSize", 0, kMaxSize));
  spec.activation = read_activation(from, "activation");
  spec.shared_activation = read_activation(from, "sharedActivation");
  spec.weight_type = read_weight_type(from);
  spec.weight_group = static_cast<int32_t>(read_integer(from, "weightGroup", 0, kMaxSize));
  spec.row_type = read_row_type(from);
  spec.threads = static_cast<int32_t>(read_integer(from, "threads", 0, 4096));
  return spec;
}

WeightArguments read_weights(Napi::Object from) {
  WeightArguments read;
  auto& files = read.files;
  LayerWeights& weights = read.weights;
  weights.packed = read_packed(from, files);
  if (weights.packed) return read;
  weights.router = read_matrix(from, "router", files);
  weights.router_bias = read_vector(from, "routerBias", files);
  weights.correction_bias = read_vector(from, "routerCorrectionBias", files);
  weights.latent_down = read_matrix(from, "latentDown", files);
  weights.latent_up = read_matrix(from, "latentUp", files);
  weights.expert_scale = read_vector(from, "expertScale", files);
  weights.shared_router = read_matrix(from, "sharedRouter", files);
  const Napi::Value experts = from.Get("experts");
  if (!experts.IsArray()) refuse("experts", "an array");
  const Napi::Array list = experts.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::HandleScope scope(from.Env());
    weights.experts.push_back(read_expert(list.Get(i).As<Napi::Object>(), files));
  }
  if (const Napi::Value shared = from.Get("shared"); shared.IsObject())
    weights.shared = read_expert(shared.As<Napi::Object>(), files);
  return read;
}

}  // namespace moe
