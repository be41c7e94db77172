// The placement that TypeScript makes where none is given.
#pragma once
#include "core/ranks/placement.h"

namespace moe::test {

// Consecutive experts are on each set. Where sets do not divide the experts, the first ones hold one more.
inline Placement consecutive(int32_t num_experts, int sets) {
  std::vector<std::vector<int32_t>> experts_of_set(sets);
  int32_t next = 0;
  for (int set = 0; set < sets; ++set) {
    const int32_t count = num_experts / sets + (set < num_experts % sets ? 1 : 0);
    for (int32_t i = 0; i < count; ++i) experts_of_set[set].push_back(next++);
  }
  return {num_experts, std::move(experts_of_set)};
}

}  // namespace moe::test
