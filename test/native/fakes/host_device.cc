#include "fakes/host_device.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/routing/plan.h"
#include "core/routing/router.h"
#include "core/weights/read_weights.h"
#include "fakes/serial_executor.h"
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

struct HostExperts final : PreparedExperts {
  size_t weight_bytes() const override { return bytes; }
  std::vector<PackedPart> packed_parts() const override { return {}; }

  Activation activation;
  size_t bytes = 0;
  Dense gate;
  std::vector<Expert> experts;
};

struct HostLinear final : PreparedLinear {
  size_t weight_bytes() const override { return weight.values.size() * sizeof(float); }
  std::vector<PackedPart> packed_parts() const override { return {}; }

  Dense weight;
};

struct HostRouter final : PreparedRouter {
  HostRouter(const MoEConfig& config, std::span<const float> correction_bias, std::span<const float> expert_scale)
      : moe(config), router(config, correction_bias, expert_scale) {}
  size_t weight_bytes() const override { return 0; }
  std::vector<PackedPart> packed_parts() const override { return {}; }
  std::vector<std::string> notes() const override { return {}; }

  MoEConfig moe;
  Dense weight;
  std::vector<float> bias;
  mutable Router router;
};

struct HostPlan final : Plan {
  SortedSlots sorted;
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

float gelu(float x) { return 0.5f * x * (1.0f + std::erf(x * 0.70710678f)); }
float gelu_tanh(float x) { return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x))); }

float activated(const Activation& activation, float gate, float up) {
  switch (activation.kind) {
    case Activation::kSwiGLU:
    case Activation::kSwiGLUOai: {
      const float limit = activation.limit;
      float x = gate;
      if (activation.clamp == Clamp::kBefore && x > limit) x = limit;
      x /= 1.0f + std::exp(-activation.alpha * x);
      if (activation.clamp == Clamp::kAfter && x > limit) x = limit;
      return x * (std::clamp(up, -limit, limit) + (activation.kind == Activation::kSwiGLUOai ? 1.0f : 0.0f));
    }
    case Activation::kGeGLU:
      return gelu(gate) * up;
    case Activation::kGeGLUTanh:
      return gelu_tanh(gate) * up;
    case Activation::kGELU:
      return gelu(up);
    case Activation::kGELUTanh:
      return gelu_tanh(up);
    case Activation::kReLU:
      return up < 0.0f ? 0.0f : up;
    case Activation::kReLU2:
      return up < 0.0f ? 0.0f : up * up;
    case Activation::kSiLU:
      return up / (1.0f + std::exp(-up));
  }
  throw Error(ErrorCode::kInternal, "Expected a known activation");
}

std::vector<float> run_up(const Expert& expert, const Activation& activation, const float* in) {
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

void run_expert(const Expert& expert, const Activation& activation, const float* in, float* out) {
  run_down(expert, run_up(expert, activation, in).data(), out);
}

void stop_if_requested(const std::stop_token& stop) {
  if (stop.stop_requested()) throw Error(ErrorCode::kAborted, "The call was aborted");
}

const HostExperts& as_host(const PreparedExperts& experts) { return static_cast<const HostExperts&>(experts); }
const SortedSlots& sorted_by(const Plan& plan) { return static_cast<const HostPlan&>(plan).sorted; }

std::unique_ptr<HostExperts> read_experts(const LayerSpec& spec, std::span<const ExpertWeights> host, Progress progress,
                                          const std::stop_token& stop) {
  auto prepared = std::make_unique<HostExperts>();
  prepared->activation = spec.activation;
  const auto total = static_cast<int64_t>(host.size());
  for (int64_t done = 0; done < total; ++done) {
    stop_if_requested(stop);
    prepared->experts.push_back(read_expert(host[done], spec));
    prepared->bytes += values_in(prepared->experts.back()) * sizeof(float);
    progress(done + 1, total);
  }
  return prepared;
}

// Calls run(expert, input row of `hidden`, row) for every row of the plan.
template <class Run>
void for_each_row(const HostExperts& experts, const SortedSlots& plan, Matrix hidden, const std::stop_token& stop,
                  const Run& run) {
  for (size_t expert = 0; expert < experts.experts.size(); ++expert) {
    stop_if_requested(stop);
    for (int32_t row = plan.offsets[expert]; row < plan.offsets[expert + 1]; ++row)
      run(experts.experts[expert], hidden.floats() + plan.slot_of_row[row] / plan.fan_out * hidden.cols, row);
  }
}

}  // namespace

const Capabilities& HostDevice::capabilities() const {
  static const Capabilities all = [] {
    Capabilities every{.weights = {}, .max_experts = 0, .host_memory = false, .packed_weights = false};
    for (const WeightFormat& format : weight_formats())
      every.weights.push_back({format.type, format.groups, kFloatRows});
    return every;
  }();
  return all;
}

void* HostDevice::allocate(size_t bytes) { return std::malloc(bytes); }
void HostDevice::deallocate(void* memory) noexcept { std::free(memory); }

void HostDevice::upload(void* device, const void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void HostDevice::download(void* host, const void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

void HostDevice::gather(Matrix in, std::span<const int32_t> index, Matrix out) {
  for (int64_t row = 0; row < out.rows; ++row)
    if (index[row] >= 0) std::copy_n(in.floats() + index[row] * in.cols, in.cols, out.floats() + row * out.cols);
}

void HostDevice::place_columns(Matrix part, int64_t first_column, Matrix out) {
  for (int64_t row = 0; row < part.rows; ++row)
    std::copy_n(part.floats() + row * part.cols, part.cols, out.floats() + row * out.cols + first_column);
}

std::unique_ptr<PreparedRouter> HostDevice::prepare_router(const LayerSpec& spec, const LayerWeights& host) {
  auto router =
      std::make_unique<HostRouter>(spec.moe, read_vector(host.correction_bias), read_vector(host.expert_scale));
  router->weight = read_matrix(host.router);
  router->bias = read_vector(host.router_bias);
  return router;
}

std::unique_ptr<PreparedExperts> HostDevice::prepare_experts(const LayerSpec& spec, const LayerWeights& host,
                                                             Progress progress, const std::stop_token& stop) {
  return read_experts(spec, host.experts, progress, stop);
}

std::unique_ptr<PreparedExperts> HostDevice::prepare_shared(const LayerSpec& spec, const LayerWeights& host,
                                                            Progress progress, const std::stop_token& stop) {
  auto shared = read_experts(spec.of_shared(), std::span(&*host.shared, 1), progress, stop);
  shared->gate = read_matrix(host.shared_router);
  return shared;
}

std::unique_ptr<Routing> HostDevice::route(const PreparedRouter& prepared, const Tokens& tokens,
                                           const RoutingArrays& out) {
  const HostRouter& router = static_cast<const HostRouter&>(prepared);
  const Matrix& hidden = tokens.hidden;
  auto routing = std::make_unique<Routing>(out, hidden.rows, router.moe);
  if (router.moe.router_rows() == 1) {  // a plain feed-forward layer
    std::fill_n(out.experts, hidden.rows, 0);
    std::fill_n(out.weights, hidden.rows, 1.0f);
    *out.expert_load = static_cast<uint32_t>(hidden.rows);
    *out.totals = {0.0, 0.0, 0, -1};
    return routing;
  }
  std::vector<float> logits;
  std::vector<float> row(router.moe.router_rows());
  for (int64_t token = 0; token < hidden.rows; ++token) {
    router.weight.multiply(hidden.floats() + token * hidden.cols, row.data());
    add_bias(row, router.bias);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  SerialExecutor executor;
  router.router.route(logits, hidden.rows, executor, out, tokens.chosen);
  return routing;
}

std::unique_ptr<PreparedLinear> HostDevice::prepare_linear(const LinearSpec& spec, const WeightMatrix& matrix,
                                                           const std::optional<PackedWeights>&) {
  auto linear = std::make_unique<HostLinear>();
  linear->weight = read_matrix(matrix, spec.weight_type, spec.weight_group);
  return linear;
}

void HostDevice::linear(const PreparedLinear& prepared, Matrix in, Matrix added, Matrix out,
                        const std::stop_token& stop) {
  stop_if_requested(stop);
  const Dense& weight = static_cast<const HostLinear&>(prepared).weight;
  for (int64_t row = 0; row < out.rows; ++row) {
    float* const to = out.floats() + row * out.cols;
    weight.multiply(in.floats() + row * in.cols, to);
    for (int64_t i = 0; added.data && i < out.cols; ++i) to[i] += added.floats()[row * out.cols + i];
  }
}

std::unique_ptr<Plan> HostDevice::plan(const Routing& routing) {
  const auto slots = static_cast<size_t>(routing.tokens * routing.top_k);
  return HostDevice::plan({routing.arrays.experts, slots}, routing.num_experts, routing.top_k);
}

std::unique_ptr<Plan> HostDevice::plan(std::span<const int32_t> choices, int32_t num_experts, int32_t fan_out) {
  auto plan = std::make_unique<HostPlan>();
  plan->sorted.sort(choices, num_experts, fan_out);
  return plan;
}

std::unique_ptr<Routing> HostDevice::weigh(const PreparedExperts&, const Routing& routing, Matrix hidden, Matrix rows,
                                           float* ones) {
  const RoutingArrays& arrays = routing.arrays;
  for (int64_t slot = 0; slot < rows.rows; ++slot) {
    const float weight = arrays.weights[slot];
    ones[slot] = std::isnan(weight) ? weight : 1.0f;
    for (int64_t i = 0; i < rows.cols; ++i)
      rows.floats()[slot * rows.cols + i] = weight * hidden.floats()[slot / routing.top_k * rows.cols + i];
  }
  const RoutingArrays by_slot{arrays.experts, ones, arrays.expert_load, arrays.totals};
  return std::make_unique<Routing>(by_slot, rows.rows, 1, routing.num_experts);
}

void HostDevice::add_identities(const PreparedExperts&, const Routing& routing, Matrix hidden, float shared_scale,
                                Matrix always) {
  for (int64_t token = 0; token < always.rows; ++token)
    for (int64_t i = 0; i < always.cols; ++i) {
      float& sum = always.floats()[token * always.cols + i];
      sum = shared_scale == 0.0f ? 0.0f : shared_scale * sum;
      for (int64_t slot = token * routing.top_k; slot < (token + 1) * routing.top_k; ++slot)
        if (routing.arrays.experts[slot] >= routing.num_experts)
          sum += routing.arrays.weights[slot] * hidden.floats()[token * always.cols + i];
    }
}

void HostDevice::run(const PreparedExperts& prepared, Matrix hidden, const Plan& plan, Matrix out,
                     const std::stop_token& stop) {
  const HostExperts& experts = as_host(prepared);
  for_each_row(experts, sorted_by(plan), hidden, stop, [&](const Expert& expert, const float* in, int64_t row) {
    run_expert(expert, experts.activation, in, out.floats() + row * out.cols);
  });
}

void HostDevice::run_up(const PreparedExperts& prepared, Matrix hidden, const Plan& plan, Matrix intermediate,
                        const std::stop_token& stop) {
  const HostExperts& experts = as_host(prepared);
  for_each_row(experts, sorted_by(plan), hidden, stop, [&](const Expert& expert, const float* in, int64_t row) {
    const std::vector<float> up = moe::test::run_up(expert, experts.activation, in);
    std::copy(up.begin(), up.end(), intermediate.floats() + row * intermediate.cols);
  });
}

void HostDevice::run_down(const PreparedExperts& prepared, Matrix intermediate, const Plan& plan, Matrix out,
                          const std::stop_token& stop) {
  for_each_row(
      as_host(prepared), sorted_by(plan), intermediate, stop, [&](const Expert& expert, const float*, int64_t row) {
        moe::test::run_down(expert, intermediate.floats() + row * intermediate.cols, out.floats() + row * out.cols);
      });
}

void HostDevice::run_shared(const PreparedExperts& prepared, const Tokens& tokens, Matrix out,
                            const std::stop_token& stop) {
  const HostExperts& shared = as_host(prepared);
  stop_if_requested(stop);
  for (int64_t token = 0; token < out.rows; ++token) {
    const float* const in = tokens.hidden.floats() + token * tokens.hidden.cols;
    float* const row = out.floats() + token * out.cols;
    run_expert(shared.experts[0], shared.activation, in, row);
    if (shared.gate.rows == 0) continue;
    float logit;
    shared.gate.multiply(in, &logit);
    for (int64_t i = 0; i < out.cols; ++i) row[i] /= 1.0f + std::exp(-logit);
  }
}

void HostDevice::combine(const PreparedExperts&, Matrix rows, const Routing& routing, const Plan& plan, Matrix shared,
                         Matrix out) {
  const SortedSlots& sorted = sorted_by(plan);
  const float* const weights = routing.arrays.weights;
  for (int64_t token = 0; token < out.rows; ++token)
    for (int64_t i = 0; i < out.cols; ++i) {
      float sum = 0.0f;
      for (int64_t slot = token * sorted.fan_out; slot < (token + 1) * sorted.fan_out; ++slot) {
        const int32_t row = sorted.row_of_slot[slot];
        // Without a row nothing is added, but NaN for a token that could not be routed.
        sum += row < 0 ? 0.0f * weights[slot] : weights[slot] * rows.floats()[row * rows.cols + i];
      }
      out.floats()[token * out.cols + i] = shared.data ? sum + shared.floats()[token * out.cols + i] : sum;
    }
}

}  // namespace moe::test
