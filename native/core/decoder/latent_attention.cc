// Multi-head latent attention (MLA), always in its absorbed form: a token's memory is one latent row and one rotated
// key, which all heads share. Queries are brought into the space of latent rows; what they attend to is brought out of
// it.
#include "core/decoder/attention_layer.h"
#include "core/weights/check_weights.h"
#include "core/weights/read_weights.h"

namespace moe {
namespace {

// Rows [first, first + count) of each `size` rows of a matrix.
WeightMatrix rows_of_heads(const WeightMatrix& from, int64_t heads, int64_t size, int64_t first, int64_t count) {
  WeightMatrix rows = from;
  rows.out_features = heads * count;
  rows.order = {.count = count, .step = size, .first = first};
  return rows;
}

// Rows [first, first + count) of a matrix.
WeightMatrix rows_from(const WeightMatrix& from, int64_t first, int64_t count) {
  WeightMatrix rows = from;
  rows.first_out += first;
  rows.out_features = count;
  return rows;
}

// Some rows of a matrix as the columns of another, in float32.
class Transposed {
 public:
  explicit Transposed(const WeightMatrix& from)
      : rows_(from.out_features), columns_(from.in_features), values_(rows_ * columns_) {
    read_block(from, 0, rows_, 0, columns_, values_.data());
  }
  WeightMatrix matrix() const { return {values_.data(), DType::kFloat32, columns_, rows_, 1, columns_}; }

 private:
  int64_t rows_, columns_;
  std::vector<float> values_;
};

class LatentAttention final : public AttentionLayer {
 public:
  explicit LatentAttention(const AttentionMaker& maker)
      : device_(maker.device),
        stages_(maker.stages()),
        spec_(maker.spec),
        key_size_(maker.spec.latent_size + maker.spec.rotated_size),
        query_down_bias_(maker.vector("queryDownBias", maker.weights.query_down_bias, maker.spec.query_latent_size)),
        query_down_norm_(norm_of_queries(maker)),
        latent_down_(maker.projection("latentDown", maker.weights.latent_down, key_size_, maker.decoder.hidden_size)),
        latent_down_bias_(maker.vector("latentDownBias", maker.weights.latent_down_bias, key_size_)),
        latent_norm_(maker.norm("latentNorm", maker.weights.latent_norm, maker.spec.latent_size)),
        output_(maker, int64_t{maker.spec.heads} * maker.spec.value_size),
        memory_(maker.memory({.heads = maker.spec.heads,
                              .kv_heads = 1,
                              .key_size = key_size_,
                              .value_size = maker.spec.latent_size,
                              .values_in_keys = true})) {
    prepare_queries(maker);
    prepare_absorbed(maker);
    shape_query_latent_ = {.heads = 1,
                           .size = spec_.query_latent_size,
                           .bias = query_down_bias_.data(),
                           .norm = HeadsSpec::kWholeRow,
                           .norm_weight = query_down_norm_.data(),
                           .norm_epsilon = spec_.latent_norm_epsilon};
    const int32_t rotated = spec_.rotation < 0 ? 0 : spec_.rotated_size;
    shape_rotated_ = {
        .heads = spec_.heads, .size = spec_.rotated_size, .rotated = rotated, .interleaved = maker.interleaved()};
    shape_key_ = {.heads = 1,
                  .size = key_size_,
                  .bias = latent_down_bias_.data(),
                  .norm = HeadsSpec::kEachHead,
                  .normed = spec_.latent_size,
                  .norm_weight = latent_norm_.data(),
                  .norm_epsilon = spec_.latent_norm_epsilon,
                  .rotated = rotated,
                  .first_rotated = spec_.latent_size,
                  .interleaved = maker.interleaved()};
  }

  void run(StepContext& step, Matrix in, Matrix out) override {
    DecoderWorkspace& workspace = step.workspace;
    const Matrix rotations = step.rotations.of(spec_.rotation);
    const Matrix queries = matrix_in(workspace.queries, in.rows, int64_t{spec_.heads} * key_size_);
    make_queries(step, in, rotations, queries);
    const Matrix keys = matrix_in(workspace.keys, in.rows, key_size_);
    device_.moe().linear(*latent_down_, in, {}, keys, step.stop);
    stages_.shape_heads(shape_key_, rotations, keys);
    const Matrix attended = matrix_in(workspace.attended, in.rows, int64_t{spec_.heads} * spec_.latent_size);
    memory_.attend(step, queries, keys, {}, attended);
    const Matrix values = matrix_in(workspace.values, in.rows, int64_t{spec_.heads} * spec_.value_size);
    stages_.multiply_heads(*value_heads_, attended, values, step.stop);
    output_.run(step, values, out);
  }

  void list(Inventory& inventory) const override {
    const Prepared* const all[] = {query_down_.get(),  query_nope_.get(), query_rotated_.get(),
                                   latent_down_.get(), key_heads_.get(),  value_heads_.get()};
    for (const Prepared* const prepared : all) inventory.add(prepared);
    for (const DeviceFloats* const floats : {&query_down_bias_, &query_down_norm_, &latent_down_bias_, &latent_norm_})
      inventory.add(*floats);
    output_.list(inventory);
  }
  size_t memory_bytes() const override { return memory_.bytes(); }

 private:
  static DeviceFloats norm_of_queries(const AttentionMaker& maker) {
    if (maker.spec.query_latent_size == 0) return DeviceFloats(maker.device, "", {});
    return maker.norm("queryDownNorm", maker.weights.query_down_norm, maker.spec.query_latent_size);
  }

  // The part of a query that meets latent rows and the part that is rotated come from projections of their own, for
  // different things happen to them.
  void prepare_queries(const AttentionMaker& maker) {
    const AttentionWeights& weights = maker.weights;
    const bool direct = spec_.query_latent_size == 0;
    const WeightMatrix& up = direct ? weights.query : weights.query_up;
    const int64_t hidden = maker.decoder.hidden_size, width = direct ? hidden : spec_.query_latent_size;
    const int64_t nope = spec_.nope_size, rotated = spec_.rotated_size;
    if (!maker.packed) expect_matrix(direct ? "query" : "queryUp", up, spec_.heads * (nope + rotated), width);
    if (!direct) query_down_ = maker.projection("queryDown", weights.query_down, width, hidden);
    const auto part_of_heads = [&](const char* name, int64_t first, int64_t count) {
      if (maker.packed) return maker.projection(name, {}, spec_.heads * count, width);
      return maker.projection(name, rows_of_heads(up, spec_.heads, nope + rotated, first, count), spec_.heads * count,
                              width);
    };
    query_nope_ = part_of_heads("queryNope", 0, nope);
    query_rotated_ = part_of_heads("queryRotated", nope, rotated);
  }

  void prepare_absorbed(const AttentionMaker& maker) {
    const int64_t nope = spec_.nope_size, value = spec_.value_size, latent = spec_.latent_size;
    const LinearSpec keys = maker.projection_spec("latentUpKeys", latent, nope),
                     values = maker.projection_spec("latentUpValues", value, latent);
    std::vector<WeightMatrix> of_keys, of_values;
    std::vector<Transposed> transposed;
    if (!maker.packed) {
      const WeightMatrix &up = maker.weights.latent_up, &up_keys = maker.weights.latent_up_keys;
      const int64_t size = up_keys ? value : nope + value;
      if (up_keys) expect_matrix("latentUpKeys", up_keys, spec_.heads * latent, nope);
      expect_matrix("latentUp", up, spec_.heads * size, latent);
      transposed.reserve(spec_.heads);
      for (int32_t head = 0; head < spec_.heads; ++head) {
        if (!up_keys) transposed.emplace_back(rows_from(up, head * size, nope));
        of_keys.push_back(up_keys ? rows_from(up_keys, head * latent, latent) : transposed.back().matrix());
        of_values.push_back(rows_from(up, head * size + size - value, value));
      }
    }
    key_heads_ = stages_.prepare_heads(keys, spec_.heads, of_keys, maker.packed);
    value_heads_ = stages_.prepare_heads(values, spec_.heads, of_values, maker.packed);
  }

  void make_queries(StepContext& step, Matrix in, Matrix rotations, Matrix queries) {
    DecoderWorkspace& workspace = step.workspace;
    MoeStages& moe = device_.moe();
    const int64_t tokens = in.rows, heads = spec_.heads;
    if (query_down_) {
      const Matrix latent = matrix_in(workspace.latent, tokens, spec_.query_latent_size);
      moe.linear(*query_down_, in, {}, latent, step.stop);
      stages_.shape_heads(shape_query_latent_, {}, latent);
      in = latent;
    }
    const Matrix nope = matrix_in(workspace.values, tokens, heads * spec_.nope_size);
    moe.linear(*query_nope_, in, {}, nope, step.stop);
    const Matrix absorbed = matrix_in(workspace.attended, tokens, heads * spec_.latent_size);
    stages_.multiply_heads(*key_heads_, nope, absorbed, step.stop);
    const Matrix rotated = matrix_in(workspace.rotated, tokens, heads * spec_.rotated_size);
    moe.linear(*query_rotated_, in, {}, rotated, step.stop);
    if (shape_rotated_.rotated > 0) stages_.shape_heads(shape_rotated_, rotations, rotated);
    const auto each_head = [&](Matrix matrix) {
      return float_matrix(matrix.floats(), tokens * heads, matrix.cols / heads);
    };
    device_.place_columns(each_head(absorbed), 0, each_head(queries));
    device_.place_columns(each_head(rotated), spec_.latent_size, each_head(queries));
  }

  Device& device_;
  DecoderStages& stages_;
  AttentionLayerSpec spec_;
  int32_t key_size_;
  DeviceFloats query_down_bias_, query_down_norm_;
  std::unique_ptr<PreparedLinear> query_down_;  // null where queries have no latent row
  std::unique_ptr<PreparedLinear> query_nope_, query_rotated_;
  std::unique_ptr<PreparedLinear> latent_down_;
  DeviceFloats latent_down_bias_, latent_norm_;
  std::unique_ptr<PreparedHeads> key_heads_, value_heads_;
  OutputProjection output_;
  LayerMemory memory_;
  HeadsSpec shape_query_latent_, shape_rotated_, shape_key_;
};

}  // namespace

std::unique_ptr<AttentionLayer> make_latent_attention(const AttentionMaker& maker) {
  return std::make_unique<LatentAttention>(maker);
}

}  // namespace moe
