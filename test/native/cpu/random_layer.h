// Seeded layers of any shape, with the weights both as the backend takes them and as the reference does.
#pragma once
#include <cstring>
#include <list>
#include <optional>
#include <random>
#include <vector>

#include "core/device.h"
#include "core/weights/float16.h"
#include "cpu/reference.h"
#include "held_weights.h"

namespace moe::test {

// How a matrix stands in memory: as most checkpoints store it, transposed, or with gaps in both directions.
enum class Layout { kRows, kTransposed, kStrided };

// How experts are held on the device.
struct Held {
  WeightType type = WeightType::kFloat32;
  int32_t group = 0;
  RowType row_type = RowType::kFloat32;
};
constexpr Held kEveryIntegerProduct[] = {{WeightType::kInt8, 0, RowType::kInt8},
                                         {WeightType::kInt8, 32, RowType::kInt8},
                                         {WeightType::kInt8, 128, RowType::kInt8},
                                         {WeightType::kInt4, 32, RowType::kInt8},
                                         {WeightType::kInt4, 64, RowType::kInt8}};
constexpr Held kEveryBFloat16Rows[] = {{WeightType::kBFloat16, 0, RowType::kBFloat16},
                                       {WeightType::kFloat16, 0, RowType::kBFloat16},
                                       {WeightType::kInt8, 0, RowType::kBFloat16},
                                       {WeightType::kInt8, 32, RowType::kBFloat16},
                                       {WeightType::kInt4, 64, RowType::kBFloat16}};
constexpr Held kEveryHeld[] = {{WeightType::kFloat32},   {WeightType::kBFloat16}, {WeightType::kFloat16},
                               {WeightType::kInt8},      {WeightType::kInt8, 32}, {WeightType::kInt8, 64},
                               {WeightType::kInt8, 128}, {WeightType::kInt4, 32}, {WeightType::kInt4, 64},
                               {WeightType::kInt4, 128}};

struct LayerOptions {
  int32_t hidden = 16, intermediate = 16, experts = 4, top_k = 2, shared = 0, latent = 0;
  Activation activation{};
  std::optional<Activation> shared_activation{};  // none: `activation`
  DType stored = DType::kFloat32;                 // in the checkpoint
  Held held{};
  Layout layout = Layout::kRows;
  bool biases = false;
  bool shared_gate = false;
  int32_t threads = 0;
  uint32_t seed = 1;
};

inline float rounded_to(DType type, float value) {
  if (type == DType::kBFloat16) return from_bfloat16(to_bfloat16(value));
  if (type == DType::kFloat16) return from_float16(to_float16(value));
  return value;
}

class RandomLayer {
 public:
  explicit RandomLayer(const LayerOptions& options) : options_(options), random_(options.seed) {
    spec.moe.expert_num = options.experts;
    spec.moe.num_experts_chosen = options.top_k;
    spec.moe.routing_policy = RoutingPolicy::kTopkRouterV2;
    spec.moe.capacity_factor = -1;  // dropless
    spec.hidden_size = options.hidden;
    spec.intermediate_size = options.intermediate;
    spec.shared_size = options.shared;
    spec.latent_size = options.latent;
    spec.activation = options.activation;
    spec.shared_activation = options.shared_activation.value_or(options.activation);
    spec.weight_type = options.held.type;
    spec.weight_group = options.held.group;
    spec.row_type = options.held.row_type;
    spec.threads = options.threads;

    host.router = matrix(options.experts, options.hidden, DType::kFloat32, Held{}, dense_router);
    for (int32_t e = 0; e < options.experts; ++e)
      host.experts.push_back(
          expert(spec.routed_size(), options.intermediate, is_gated(spec.activation), dense.emplace_back()));
    if (options.shared > 0)
      host.shared = expert(options.hidden, options.shared, is_gated(spec.shared_activation), dense_shared);
    if (options.latent > 0) {
      host.latent_down = matrix(options.latent, options.hidden, options.stored, Held{}, dense_latent_down);
      host.latent_up = matrix(options.hidden, options.latent, options.stored, Held{}, dense_latent_up);
    }
    if (options.shared_gate)
      host.shared_router = matrix(1, options.hidden, DType::kFloat32, Held{}, dense_shared_router);
  }

  std::vector<float> hidden(int64_t tokens) {
    std::vector<float> values(tokens * options_.hidden);
    for (float& value : values) value = next();
    return values;
  }

  LayerSpec spec;
  LayerWeights host;
  std::vector<DenseExpert> dense;  // weights as the device holds them
  DenseExpert dense_shared;
  DenseMatrix dense_router, dense_shared_router, dense_latent_down, dense_latent_up;

 private:
  float next() { return std::uniform_real_distribution<float>(-1, 1)(random_); }

  // Values of about 1 / sqrt(cols), so that outputs keep the size of inputs.
  WeightMatrix matrix(int64_t rows, int64_t cols, DType stored, Held held, DenseMatrix& out) {
    const float scale = std::sqrt(3.0f / static_cast<float>(cols));
    out = {rows, cols, std::vector<double>(rows * cols)};
    WeightMatrix view{nullptr, stored, rows, cols, cols, 1};
    if (options_.layout == Layout::kTransposed) view.out_stride = 1, view.in_stride = rows;
    if (options_.layout == Layout::kStrided) view.out_stride = 3 * cols + 1, view.in_stride = 2;
    const int64_t last = (rows - 1) * view.out_stride + (cols - 1) * view.in_stride;
    // One byte in front: nothing promises that checkpoint data is aligned.
    std::vector<std::byte>& bytes = storage_.emplace_back((last + 1) * size_of(stored) + 1, std::byte{0x7f});
    view.data = bytes.data() + 1;
    std::vector<float> values(cols);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t col = 0; col < cols; ++col) {
        values[col] = rounded_to(stored, scale * next());
        put(bytes.data() + 1, stored, row * view.out_stride + col * view.in_stride, values[col]);
      }
      round_to(held.type, held.group, values.data(), cols);
      std::copy(values.begin(), values.end(), out.values.begin() + row * cols);
    }
    return view;
  }

  WeightVector vector(int64_t size, std::vector<double>& out) {
    if (!options_.biases) return {};
    WeightVector view{nullptr, options_.stored, size, 2};
    std::vector<std::byte>& bytes = storage_.emplace_back(2 * size * size_of(options_.stored));
    view.data = bytes.data();
    for (int64_t i = 0; i < size; ++i) {
      const float value = rounded_to(options_.stored, next());
      put(bytes.data(), options_.stored, 2 * i, value);
      out.push_back(value);
    }
    return view;
  }

  static void put(std::byte* data, DType type, int64_t index, float value) {
    std::byte* const at = data + index * static_cast<int64_t>(size_of(type));
    if (type == DType::kFloat32) {
      std::memcpy(at, &value, sizeof value);
    } else {
      const uint16_t half = type == DType::kBFloat16 ? to_bfloat16(value) : to_float16(value);
      std::memcpy(at, &half, sizeof half);
    }
  }

  ExpertWeights expert(int64_t hidden, int64_t width, bool gated, DenseExpert& out) {
    ExpertWeights weights;
    if (gated) weights.gate = matrix(width, hidden, options_.stored, options_.held, out.gate);
    weights.up = matrix(width, hidden, options_.stored, options_.held, out.up);
    weights.down = matrix(hidden, width, options_.stored, options_.held, out.down);
    if (gated) weights.gate_bias = vector(width, out.gate_bias);
    weights.up_bias = vector(width, out.up_bias);
    weights.down_bias = vector(hidden, out.down_bias);
    return weights;
  }

  LayerOptions options_;
  std::mt19937 random_;
  std::list<std::vector<std::byte>> storage_;
};

}  // namespace moe::test
