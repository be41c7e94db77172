// Attention in which groups of query heads share a head of keys and values.
#include "core/decoder/attention_layer.h"

namespace moe {
namespace {

// Of queries, keys or values: the projection, and what happens to heads behind it.
class HeadsProjection {
 public:
  struct Parts {
    const char *name, *bias_name, *norm_name;
    const WeightMatrix& matrix;
    const WeightVector& bias;
    const WeightVector* norm;  // null for values, which are neither normed nor rotated
    int32_t heads;
  };

  HeadsProjection(const AttentionMaker& maker, const Parts& parts)
      : device_(maker.device),
        linear_(
            maker.projection(parts.name, parts.matrix, parts.heads * maker.spec.head_size, maker.decoder.hidden_size)),
        bias_(maker.vector(parts.bias_name, parts.bias, parts.heads * maker.spec.head_size)),
        norm_(norm_of(maker, parts)) {
    const AttentionLayerSpec& spec = maker.spec;
    heads_ = {.heads = parts.heads, .size = spec.head_size, .bias = bias_.data(), .clip = spec.clip};
    if (!parts.norm) return;
    heads_.norm = spec.norm;
    heads_.norm_weight = norm_.data();
    heads_.norm_epsilon = maker.decoder.norm_epsilon;
    heads_.rotated = spec.rotation < 0 ? 0 : spec.rotated_size;
    heads_.interleaved = maker.interleaved();
  }

  LinearTo linear_to(DeviceBuffer& into, int64_t rows) const {
    return {*linear_, matrix_in(into, rows, int64_t{heads_.heads} * heads_.size)};
  }
  // What happens to the projection's output.
  void shape(Matrix out, Matrix rotations) const {
    if (heads_.bias || heads_.norm != HeadsSpec::kNone || heads_.clip > 0 || heads_.rotated > 0)
      device_.decoder()->shape_heads(heads_, heads_.rotated > 0 ? rotations : Matrix{}, out);
  }
  void list(Inventory& inventory) const {
    inventory.add(linear_.get());
    inventory.add(bias_);
    inventory.add(norm_);
  }

 private:
  static DeviceFloats norm_of(const AttentionMaker& maker, const Parts& parts) {
    if (!parts.norm || maker.spec.norm == HeadsSpec::kNone) return DeviceFloats(maker.device, "", {});
    const int64_t normed = maker.spec.norm == HeadsSpec::kEachHead ? 1 : parts.heads;
    return maker.norm(parts.norm_name, *parts.norm, normed * maker.spec.head_size);
  }

  Device& device_;
  std::unique_ptr<PreparedLinear> linear_;
  DeviceFloats bias_, norm_;
  HeadsSpec heads_;
};

class GroupedAttention final : public AttentionLayer {
 public:
  explicit GroupedAttention(const AttentionMaker& maker)
      : device_(maker.device),
        query_(maker, {"query", "queryBias", "queryNorm", maker.weights.query, maker.weights.query_bias,
                       &maker.weights.query_norm, maker.spec.heads}),
        key_(maker, {"key", "keyBias", "keyNorm", maker.weights.key, maker.weights.key_bias, &maker.weights.key_norm,
                     maker.spec.kv_heads}),
        value_(maker,
               {"value", "valueBias", "", maker.weights.value, maker.weights.value_bias, nullptr, maker.spec.kv_heads}),
        sinks_(maker.vector("sinks", maker.weights.sinks, maker.spec.heads)),
        output_(maker, width_of(maker.spec)),
        memory_(maker.memory({.heads = maker.spec.heads,
                              .kv_heads = maker.spec.kv_heads,
                              .key_size = maker.spec.head_size,
                              .value_size = maker.spec.head_size,
                              .sinks = sinks_.data()})),
        rotation_(maker.spec.rotation),
        width_(width_of(maker.spec)) {}

  void run(StepContext& step, Matrix in, Matrix out) override {
    DecoderWorkspace& workspace = step.workspace;
    const Matrix rotations = step.rotations.of(rotation_);
    const LinearTo queries = query_.linear_to(workspace.queries, in.rows),
                   keys = key_.linear_to(workspace.keys, in.rows), values = value_.linear_to(workspace.values, in.rows);
    const LinearTo all[] = {queries, keys, values};
    device_.moe().linears(all, in, step.stop);
    query_.shape(queries.out, rotations);
    key_.shape(keys.out, rotations);
    value_.shape(values.out, rotations);
    const Matrix attended = matrix_in(workspace.attended, in.rows, width_);
    memory_.attend(step, queries.out, keys.out, values.out, attended);
    output_.run(step, attended, out);
  }
  void list(Inventory& inventory) const override {
    for (const HeadsProjection* const projection : {&query_, &key_, &value_}) projection->list(inventory);
    inventory.add(sinks_);
    output_.list(inventory);
  }
  size_t memory_bytes() const override { return memory_.bytes(); }

 private:
  static int64_t width_of(const AttentionLayerSpec& spec) { return int64_t{spec.heads} * spec.head_size; }

  Device& device_;
  HeadsProjection query_, key_, value_;
  DeviceFloats sinks_;
  OutputProjection output_;
  LayerMemory memory_;
  int32_t rotation_;
  int64_t width_;
};

}  // namespace

std::unique_ptr<AttentionLayer> make_grouped_attention(const AttentionMaker& maker) {
  return std::make_unique<GroupedAttention>(maker);
}

}  // namespace moe
