// A whole layer in float64, for the routing that a device decided.
#pragma once
#include <vector>

#include "cpu/random_layer.h"

namespace moe::test {

// experts, weights: [tokens, K].
inline std::vector<double> layer_output(const RandomLayer& layer, const std::vector<float>& hidden,
                                        const std::vector<int32_t>& experts, const std::vector<float>& weights) {
  const LayerSpec& spec = layer.spec;
  const int64_t width = spec.hidden_size, fan_out = spec.moe.num_experts_chosen;
  const bool latent = spec.latent_size > 0;
  std::vector<double> output;
  for (int64_t token = 0; token < static_cast<int64_t>(hidden.size()) / width; ++token) {
    const std::vector<double> x(hidden.begin() + token * width, hidden.begin() + (token + 1) * width);
    const std::vector<double> in = latent ? affine(layer.dense_latent_down, x, {}) : x;
    std::vector<double> sum(in.size(), 0.0);
    const auto add = [&](double weight, const std::vector<double>& y) {
      for (size_t i = 0; i < y.size(); ++i) sum[i] += weight * y[i];
    };
    for (int64_t slot = token * fan_out; slot < (token + 1) * fan_out; ++slot)
      if (experts[slot] >= 0) add(weights[slot], run_expert(layer.dense[experts[slot]], spec.activation, in));
    if (latent) sum = affine(layer.dense_latent_up, sum, {});
    if (spec.shared_size > 0)
      add(layer.host.shared_router ? sigmoid(affine(layer.dense_shared_router, x, {})[0]) : 1.0,
          run_expert(layer.dense_shared, spec.shared_activation, x));
    output.insert(output.end(), sum.begin(), sum.end());
  }
  return output;
}

}  // namespace moe::test
