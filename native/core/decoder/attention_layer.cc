#include "core/decoder/attention_layer.h"

#include "core/weights/check_weights.h"
#include "core/weights/packed_weights.h"

namespace moe {

LinearSpec AttentionMaker::projection_spec(const char* name, int64_t out_features, int64_t in_features) const {
  return {.name = name,
          .in_features = in_features,
          .out_features = out_features,
          .weight_type = decoder.projections.weight_type,
          .weight_group = decoder.projections.weight_group,
          .row_type = decoder.projections.row_type,
          .threads = decoder.threads};
}

std::unique_ptr<PreparedLinear> AttentionMaker::projection(const char* name, const WeightMatrix& matrix,
                                                           int64_t out_features, int64_t in_features) const {
  if (!packed) expect_matrix(name, matrix, out_features, in_features);
  return device.moe().prepare_linear(projection_spec(name, out_features, in_features), matrix, packed);
}

DeviceFloats AttentionMaker::vector(const char* name, const WeightVector& vector, int64_t size) const {
  if (packed) return DeviceFloats(device, name, values_in(*packed, name, size));
  expect_vector_if_given(name, vector, size);
  return DeviceFloats(device, name, vector);
}

DeviceFloats AttentionMaker::norm(const char* name, const WeightVector& vector, int64_t size) const {
  if (packed)
    get_part(*packed, name);
  else
    expect_vector(name, vector, size);
  return this->vector(name, vector, size);
}

LayerMemory AttentionMaker::memory(AttentionSpec attention) const {
  attention.scale = spec.scale;
  attention.window = spec.window;
  attention.type = decoder.kv_type;
  attention.threads = decoder.threads;
  return {stages(), attention, decoder.kv_tokens / kKvBlock, group};
}

std::unique_ptr<AttentionLayer> make_attention(const AttentionMaker& maker) {
  return maker.spec.latent() ? make_latent_attention(maker) : make_grouped_attention(maker);
}

OutputProjection::OutputProjection(const AttentionMaker& maker, int64_t in_features)
    : device_(maker.device),
      linear_(maker.projection("output", maker.weights.output, maker.decoder.hidden_size, in_features)),
      bias_(maker.vector("outputBias", maker.weights.output_bias, maker.decoder.hidden_size)) {}

void OutputProjection::run(const StepContext& step, Matrix in, Matrix out) const {
  device_.moe().linear(*linear_, in, {}, out, step.stop);
  if (!bias_.data()) return;
  const HeadsSpec only_bias{.heads = 1, .size = static_cast<int32_t>(out.cols), .bias = bias_.data()};
  device_.decoder()->shape_heads(only_bias, {}, out);
}

}  // namespace moe
