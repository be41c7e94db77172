#include "core/routing/router_capacity.h"

#include <algorithm>
#include <cmath>

namespace moe {

int64_t capacity_v1(const MoEConfig& config, int64_t tokens) {
  const double slots = std::ceil(static_cast<double>(config.num_experts_chosen) * static_cast<double>(tokens) *
                                 config.capacity_factor / config.expert_num);
  return static_cast<int64_t>(std::clamp(slots, 0.0, 0x1p53));
}

int64_t capacity_v2(const MoEConfig& config, int64_t tokens) {
  if (!config.limits_slots()) return kDropless;
  if (config.expert_capacity > 0) return config.expert_capacity;
  const int64_t slots = std::min(capacity_v1(config, tokens), tokens);
  const int64_t multiple = config.capacity_multiple;
  return (slots + multiple - 1) / multiple * multiple;
}

}  // namespace moe
