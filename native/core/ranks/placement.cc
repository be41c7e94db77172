#include "core/ranks/placement.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace moe {
namespace {

[[noreturn]] void refuse(const std::string& expected) {
  throw Error(ErrorCode::kConfig, "Expected `placement` to " + expected);
}

}  // namespace

Placement::Placement(int32_t num_experts, std::vector<std::vector<int32_t>> experts_of_set)
    : experts_of_set_(std::move(experts_of_set)), replicas_(num_experts) {
  for (int32_t set = 0; set < sets(); ++set) {
    const std::vector<int32_t>& experts = experts_of_set_[set];
    if (experts.empty()) refuse("give every rank an expert, rank " + std::to_string(set) + " has none");
    for (int32_t local = 0; local < static_cast<int32_t>(experts.size()); ++local) {
      const int32_t expert = experts[local];
      if (expert < 0 || expert >= num_experts)
        refuse("name experts from 0 to " + std::to_string(num_experts - 1) + ", got " + std::to_string(expert));
      if (std::count(experts.begin(), experts.end(), expert) > 1)
        refuse("put an expert on a rank once, expert " + std::to_string(expert) + " is on rank " + std::to_string(set) +
               " twice");
      replicas_[expert].push_back({set, local});
    }
  }
  for (int32_t expert = 0; expert < num_experts; ++expert)
    if (replicas_[expert].empty())
      refuse("put every expert on a rank, expert " + std::to_string(expert) + " is on none");
}

}  // namespace moe
