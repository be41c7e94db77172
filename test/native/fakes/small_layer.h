// A layer small enough to compute by hand in tests: 4 experts of 2 -> 3 -> 2, a gated shared expert; with a latent size
// the routed experts are of that width.
#pragma once
#include <vector>

#include "core/layer/layer.h"

namespace moe::test {

class SmallLayer {
 public:
  static constexpr int32_t kExperts = 4, kHidden = 2, kWidth = 3, kTopK = 2;

  explicit SmallLayer(int32_t latent = 0) {
    spec.moe.routing_policy = RoutingPolicy::kTopkRouterV2;
    spec.moe.expert_num = kExperts;
    spec.moe.num_experts_chosen = kTopK;
    spec.moe.capacity_factor = 0.0;
    spec.hidden_size = kHidden;
    spec.intermediate_size = kWidth;
    spec.shared_size = kWidth;
    spec.latent_size = latent;
    for (int i = 0; i < 64; ++i) values_.push_back(static_cast<float>((i * 37) % 23 - 11) / 8.0f);
    weights.router = matrix(kExperts, kHidden);
    for (int i = 0; i < kExperts; ++i) weights.experts.push_back(expert(spec.routed_size()));
    weights.shared = expert(kHidden);
    weights.shared_router = matrix(1, kHidden);
    if (latent == 0) return;
    weights.latent_down = matrix(latent, kHidden);
    weights.latent_up = matrix(kHidden, latent);
  }
  SmallLayer(const SmallLayer&) = delete;  // weights point into values_
  SmallLayer& operator=(const SmallLayer&) = delete;

  // Three tokens through the layer on `backend`.
  std::vector<float> forward(Device& backend) const {
    const std::vector<float> hidden{1.0f, -0.5f, 0.25f, 2.0f, -1.0f, -1.0f};
    std::vector<float> output(hidden.size());
    const Layer layer(backend, spec, weights, [](int64_t, int64_t) {}, {});
    Workspace workspace(backend);
    ForwardOutput out;
    out.output = output.data();
    layer.forward(workspace, {hidden.data(), DType::kFloat32, 3}, out, {});
    return output;
  }

  LayerSpec spec;
  LayerWeights weights;

 private:
  WeightMatrix matrix(int64_t rows, int64_t cols) {
    offset_ = (offset_ + 5) % 32;
    return {values_.data() + offset_, DType::kFloat32, rows, cols, cols, 1};
  }
  ExpertWeights expert(int32_t hidden) {
    ExpertWeights expert;
    expert.gate = matrix(kWidth, hidden);
    expert.up = matrix(kWidth, hidden);
    expert.down = matrix(hidden, kWidth);
    return expert;
  }

  std::vector<float> values_;
  int64_t offset_ = 0;
};

}  // namespace moe::test
