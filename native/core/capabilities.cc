#include "core/capabilities.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "core/weight_format.h"

namespace moe {

void expect_capable(const Capabilities& capabilities, const LayerSpec& spec) {
  const std::string got = std::string("got '") + name_of(spec.weight_type) + "'";
  const auto held = std::ranges::find(capabilities.weights, spec.weight_type, &HeldWeights::type);
  if (held == capabilities.weights.end()) {
    std::string names;
    for (const HeldWeights& each : capabilities.weights)
      names += (names.empty() ? "'" : " or '") + std::string(name_of(each.type)) + "'";
    throw Error(ErrorCode::kConfig, "Expected `weightType` to be " + names + " on this device, " + got);
  }
  constexpr int32_t kNone[] = {0};
  const std::span<const int32_t> known = held->groups.empty() ? kNone : held->groups;
  if (std::ranges::find(known, spec.weight_group) == known.end()) {
    std::string groups;
    for (const int32_t group : known)
      groups += (groups.empty() ? "" : " or ") + (group > 0 ? std::to_string(group) : "'all'");
    throw Error(ErrorCode::kConfig, "Expected `weightGroup` to be " + groups + " for '" + name_of(held->type) +
                                        "' on this device, got " +
                                        (spec.weight_group > 0 ? std::to_string(spec.weight_group) : "'all'"));
  }
  const auto takes_rows = [&](const HeldWeights& each) {
    return std::ranges::find(each.row_types, spec.row_type) != each.row_types.end();
  };
  if (std::ranges::none_of(capabilities.weights, takes_rows))
    throw Error(ErrorCode::kConfig, std::string("Expected `activationType` to be one that this device has, got '") +
                                        name_of(spec.row_type) + "'");
  if (!takes_rows(*held))
    throw Error(ErrorCode::kConfig,
                std::string("Expected `weightType` to be one that this device multiplies by rows of '") +
                    name_of(spec.row_type) + "', " + got);
  if (capabilities.max_experts > 0 && spec.moe.router_rows() > capabilities.max_experts)
    throw Error(ErrorCode::kConfig, "Expected at most " + std::to_string(capabilities.max_experts) +
                                        " experts on this device, got " + std::to_string(spec.moe.router_rows()));
}

}  // namespace moe
