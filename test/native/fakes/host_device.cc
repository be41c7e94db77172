#include "fakes/host_device.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/routing/plan.h"
#include "core/weights/read_weights.h"
#include "core/routing/router.h"
#include "held_weights.h"

namespace moe::test {
namespace {

// [rows, cols], row-major; empty where a layer has no such weight.
struct Dense {
  std::vector<float> values;
  int64_t rows = 0;
  int64_t cols = 0;

  void multiply(const float* in, float* out) const {
    for (int64_t row = 0; row < rows; ++row) {
      double sum = 0.0;
      for (int64_t col = 0; col < cols; ++col) sum += static_cast<double>(values[row * cols + col]) * in[col];
      out[row] = static_cast<float>(sum);
    }
  }
};

struct Expert {
  Dense gate, up, down;
  std::vector<float> gate_bias, up_bias, down_bias;
};

struct HostLayer final : PreparedLayer {
  HostLayer(const MoEConfig& moe, std::span<const float> correction_bias) : router(moe, correction_bias) {}
  size_t weight_bytes() const override { return bytes; }

  LayerSpec spec;
  size_t bytes = 0;
  Dense router_weight, shared_router;
  std::vector<float> router_bias;
  std::vector<Expert> experts;
  Expert shared;
  mutable Router router;
};

Dense read_matrix(const WeightMatrix& matrix, WeightType type = WeightType::kFloat32, int64_t group = 0) {
  Dense dense{std::vector<float>(matrix.out_features * matrix.in_features), matrix.out_features, matrix.in_features};
  read_block(matrix, 0, matrix.out_features, 0, matrix.in_features, dense.values.data());
  for (int64_t o = 0; o < matrix.out_features; ++o)
    test::round_to(type, group, dense.values.data() + o * matrix.in_features, matrix.in_features);
  return dense;
}

Expert read_expert(const ExpertWeights& weights, const LayerSpec& spec) {
  const auto held = [&](const WeightMatrix& matrix) {
    return read_matrix(matrix, spec.weight_type, spec.weight_group);
  };
  return {held(weights.gate),           held(weights.up),
          held(weights.down),           read_vector(weights.gate_bias),
          read_vector(weights.up_bias), read_vector(weights.down_bias)};
}

size_t values_in(const Expert& expert) {
  return expert.gate.values.size() + expert.up.values.size() + expert.down.values.size();
}

void add_bias(std::vector<float>& values, const std::vector<float>& bias) {
  for (size_t i = 0; i < bias.size(); ++i) values[i] += bias[i];
}

float silu(float x) { return x / (1.0f + std::exp(-x)); }
float gelu(float x) { return 0.5f * x * (1.0f + std::erf(x * 0.70710678f)); }
float gelu_tanh(float x) { return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x))); }

float activated(Activation activation, float gate, float up) {
  switch (activation) {
    case Activation::kSwiGLU:
      return silu(gate) * up;
    case Activation::kSwiGLUOai: {
      const float limited = gate > 7.0f ? 7.0f : gate;
      return limited / (1.0f + std::exp(-1.702f * limited)) * (std::clamp(up, -7.0f, 7.0f) + 1.0f);
    }
    case Activation::kGeGLU:
      return gelu(gate) * up;
    case Activation::kGELU:
      return gelu(up);
    case Activation::kGELUTanh:
      return gelu_tanh(up);
    case Activation::kReLU:
      return up < 0.0f ? 0.0f : up;
    case Activation::kSiLU:
      return silu(up);
  }
  throw Error(ErrorCode::kInternal, "Expected a known activation");
}

std::vector<float> run_up(const Expert& expert, Activation activation, const float* in) {
  std::vector<float> gate(expert.gate.rows), up(expert.up.rows);
  expert.gate.multiply(in, gate.data());
  expert.up.multiply(in, up.data());
  add_bias(gate, expert.gate_bias);
  add_bias(up, expert.up_bias);
  for (size_t i = 0; i < up.size(); ++i) up[i] = activated(activation, gate.empty() ? 0.0f : gate[i], up[i]);
  return up;
}

void run_down(const Expert& expert, const float* intermediate, float* out) {
  std::vector<float> result(expert.down.rows);
  expert.down.multiply(intermediate, result.data());
  add_bias(result, expert.down_bias);
  std::copy(result.begin(), result.end(), out);
}

void run_expert(const Expert& expert, Activation activation, const float* in, float* out) {
  run_down(expert, run_up(expert, activation, in).data(), out);
}

void stop_if_requested(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "The call was aborted");
}

const HostLayer& as_host(const PreparedLayer& layer) { return static_cast<const HostLayer&>(layer); }

}  // namespace

void* HostDevice::allocate(size_t bytes) { return std::malloc(bytes); }
void HostDevice::deallocate(void* memory) noexcept { std::free(memory); }

void HostDevice::upload(void* device, const void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void HostDevice::download(void* host, const void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

std::unique_ptr<PreparedLayer> HostDevice::prepare(const LayerSpec& spec, const LayerWeights& host, Progress progress,
                                                    const std::stop_token& stop) {
  auto layer = std::make_unique<HostLayer>(spec.moe, read_vector(host.correction_bias));
  layer->spec = spec;
  layer->router_weight = read_matrix(host.router);
  layer->router_bias = read_vector(host.router_bias);
  const auto total = static_cast<int64_t>(host.experts.size());
  for (int64_t done = 0; done < total; ++done) {
    stop_if_requested(stop);
    layer->experts.push_back(read_expert(host.experts[done], spec));
    layer->bytes += values_in(layer->experts.back()) * sizeof(float);
    progress(done + 1, total);
  }
  if (host.shared) layer->shared = read_expert(*host.shared, spec);
  layer->bytes += values_in(layer->shared) * sizeof(float);
  layer->shared_router = read_matrix(host.shared_router);
  return layer;
}

void HostDevice::route(const PreparedLayer& prepared, Matrix hidden, const Routing& out) {
  const HostLayer& layer = as_host(prepared);
  const int32_t num_experts = layer.spec.moe.expert_num;
  if (num_experts == 1) {  // a plain feed-forward layer
    std::fill_n(out.experts, hidden.rows, 0);
    std::fill_n(out.weights, hidden.rows, 1.0f);
    *out.expert_load = static_cast<uint32_t>(hidden.rows);
    *out.totals = {0.0, 0.0, 0, -1};
    return;
  }
  std::vector<float> logits;
  std::vector<float> row(num_experts);
  for (int64_t token = 0; token < hidden.rows; ++token) {
    layer.router_weight.multiply(hidden.data + token * hidden.cols, row.data());
    add_bias(row, layer.router_bias);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  SerialExecutor executor;
  layer.router.route(logits, hidden.rows, executor, out);
}

void HostDevice::plan(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) {
  plan_on_host(experts, num_experts, out);
}

void HostDevice::run_experts(const PreparedLayer& prepared, Matrix hidden, const DispatchPlan& plan, Matrix out,
                              const std::stop_token& stop) {
  const HostLayer& layer = as_host(prepared);
  for (size_t expert = 0; expert < layer.experts.size(); ++expert) {
    stop_if_requested(stop);
    for (int32_t row = plan.expert_offsets[expert]; row < plan.expert_offsets[expert + 1]; ++row)
      run_expert(layer.experts[expert], layer.spec.activation,
                 hidden.data + plan.slot_of_row[row] / plan.fan_out * hidden.cols, out.data + row * out.cols);
  }
}

void HostDevice::gather(Matrix in, const int32_t* index, Matrix out) {
  for (int64_t row = 0; row < out.rows; ++row)
    if (index[row] >= 0) std::copy_n(in.data + index[row] * in.cols, in.cols, out.data + row * out.cols);
}

void HostDevice::run_up(const PreparedLayer& prepared, Matrix hidden, const DispatchPlan& plan, Matrix intermediate,
                         const std::stop_token& stop) {
  stop_if_requested(stop);
  const HostLayer& layer = as_host(prepared);
  for (size_t expert = 0; expert < layer.experts.size(); ++expert)
    for (int32_t row = plan.expert_offsets[expert]; row < plan.expert_offsets[expert + 1]; ++row) {
      const float* const in = hidden.data + plan.slot_of_row[row] / plan.fan_out * hidden.cols;
      const std::vector<float> up = moe::test::run_up(layer.experts[expert], layer.spec.activation, in);
      std::copy(up.begin(), up.end(), intermediate.data + row * intermediate.cols);
    }
}

void HostDevice::run_down(const PreparedLayer& prepared, Matrix intermediate, const DispatchPlan& plan, Matrix out,
                           const std::stop_token& stop) {
  stop_if_requested(stop);
  const HostLayer& layer = as_host(prepared);
  for (size_t expert = 0; expert < layer.experts.size(); ++expert)
    for (int32_t row = plan.expert_offsets[expert]; row < plan.expert_offsets[expert + 1]; ++row)
      moe::test::run_down(layer.experts[expert], intermediate.data + row * intermediate.cols,
                          out.data + row * out.cols);
}

void HostDevice::run_shared(const PreparedLayer& prepared, Matrix hidden, Matrix out, const std::stop_token& stop) {
  const HostLayer& layer = as_host(prepared);
  stop_if_requested(stop);
  for (int64_t token = 0; token < hidden.rows; ++token) {
    const float* const in = hidden.data + token * hidden.cols;
    float* const row = out.data + token * out.cols;
    run_expert(layer.shared, layer.spec.activation, in, row);
    if (layer.shared_router.rows == 0) continue;
    float logit;
    layer.shared_router.multiply(in, &logit);
    for (int64_t i = 0; i < out.cols; ++i) row[i] /= 1.0f + std::exp(-logit);
  }
}

void HostDevice::combine(const PreparedLayer&, Matrix rows, const Routing& routing, const DispatchPlan& plan,
                          Matrix shared, Matrix out) {
  for (int64_t token = 0; token < out.rows; ++token)
    for (int64_t i = 0; i < out.cols; ++i) {
      float sum = 0.0f;
      for (int64_t slot = token * plan.fan_out; slot < (token + 1) * plan.fan_out; ++slot) {
        const int32_t row = plan.row_of_slot[slot];
        // Without a row the weight is 0, or NaN for a token that could not be routed.
        sum += row < 0 ? routing.weights[slot] : routing.weights[slot] * rows.data[row * rows.cols + i];
      }
      out.data[token * out.cols + i] = shared.data ? sum + shared.data[token * out.cols + i] : sum;
    }
}

}  // namespace moe::test
