// Drives a backend's stages with choices given by the test, and says what should come out.
#pragma once
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cpu/device.h"
#include "cpu/kernels.h"
#include "cpu/random_layer.h"

namespace moe::test {

// [tokens, fan_out] choices; expert -1 has no row.
struct Choices {
  int32_t fan_out;
  std::vector<int32_t> experts;
  std::vector<float> weights;
  int64_t tokens() const { return static_cast<int64_t>(experts.size()) / fan_out; }
};

// Token t takes experts t, t + 1, ... with unequal weights.
inline Choices round_robin(int64_t tokens, int32_t fan_out, int32_t experts) {
  Choices choices{fan_out, {}, {}};
  for (int64_t token = 0; token < tokens; ++token)
    for (int32_t choice = 0; choice < fan_out; ++choice) {
      choices.experts.push_back(static_cast<int32_t>((token + choice) % experts));
      choices.weights.push_back(1.0f / static_cast<float>(choice + 2));
    }
  return choices;
}

inline std::unique_ptr<PreparedExperts> prepare(Device& backend, const RandomLayer& layer) {
  return backend.moe().prepare_experts(layer.spec, layer.host, [](int64_t, int64_t) {}, {});
}

// plan, run_experts, combine: [tokens, H]. `shared` is added when it is not empty.
inline std::vector<float> run_experts(Device& backend, const PreparedExperts& prepared, const LayerSpec& spec,
                                      std::vector<float> hidden, Choices choices, std::vector<float> shared = {},
                                      const std::stop_token& stop = {}) {
  const int64_t tokens = choices.tokens(), width = spec.hidden_size;
  const auto slots = static_cast<int64_t>(choices.experts.size());
  std::vector<float> rows(slots * width), output(tokens * width);
  uint32_t load = 0;
  RoutingTotals totals{};
  const Routing routing({choices.experts.data(), choices.weights.data(), &load, &totals}, tokens, spec.moe);

  const Matrix in = float_matrix(hidden.data(), tokens, width), out = float_matrix(output.data(), tokens, width);
  const Matrix row_matrix = float_matrix(rows.data(), slots, width);
  const std::unique_ptr<Plan> plan = backend.moe().plan(choices.experts, spec.moe.expert_num, choices.fan_out);
  backend.moe().run(prepared, in, *plan, row_matrix, stop);
  backend.moe().combine(prepared, row_matrix, routing, *plan,
                        float_matrix(shared.empty() ? nullptr : shared.data(), tokens, width), out);
  backend.synchronize();
  return output;
}

// The same from the reference, in float64.
inline std::vector<double> expected_output(const RandomLayer& layer, const std::vector<float>& hidden,
                                           const Choices& choices) {
  const int64_t width = layer.spec.hidden_size;
  std::vector<double> output(choices.tokens() * width, 0.0);
  for (size_t slot = 0; slot < choices.experts.size(); ++slot) {
    if (choices.experts[slot] < 0) continue;
    const int64_t token = static_cast<int64_t>(slot) / choices.fan_out;
    const std::vector<double> x(hidden.begin() + token * width, hidden.begin() + (token + 1) * width);
    const std::vector<double> y = run_expert(layer.dense[choices.experts[slot]], layer.spec.activation, x);
    for (int64_t i = 0; i < width; ++i) output[token * width + i] += choices.weights[slot] * y[i];
  }
  return output;
}

// A test of this fixture runs once per instruction set of the machine.
class EachInstructionSet : public testing::TestWithParam<const cpu::Kernels*> {
 protected:
  const cpu::Kernels& kernels() const { return *GetParam(); }
};

inline std::string kernels_name(const testing::TestParamInfo<const cpu::Kernels*>& info) { return info.param->name; }

}  // namespace moe::test
