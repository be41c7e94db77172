#include "core/routing/router_groups.h"

#include <algorithm>
#include <limits>

namespace moe {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// The best rank, or the sum of the two best.
float group_score(const float* ranks, int32_t size, TopkMethod method) {
  float first = kLowest, second = kLowest;
  for (int32_t i = 0; i < size; ++i) {
    second = std::max(second, std::min(first, ranks[i]));
    first = std::max(first, ranks[i]);
  }
  return method == TopkMethod::kNoauxTc && size > 1 ? first + second : first;
}

}  // namespace

bool limits_groups(const MoEConfig& config) {
  return config.topk_method != TopkMethod::kGreedy && config.topk_group < config.n_group;
}

void mask_groups(const MoEConfig& config, float* ranks, float* group_scores) {
  const int32_t groups = config.n_group, size = config.expert_num / groups;
  for (int32_t group = 0; group < groups; ++group)
    group_scores[group] = group_score(ranks + group * size, size, config.topk_method);

  const float fill = config.exclude_masked_groups ? kLowest : 0.0f;
  for (int32_t group = 0; group < groups; ++group) {
    // A score reaches the k-th best exactly when fewer than k are above it.
    const auto above =
        std::count_if(group_scores, group_scores + groups, [&](float other) { return other > group_scores[group]; });
    if (above >= config.topk_group) std::fill_n(ranks + group * size, size, fill);
  }
}

}  // namespace moe
