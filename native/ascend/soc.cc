#include "ascend/soc.h"

#include <string>

#include "core/error.h"

namespace moe::ascend {
namespace {

constexpr SocProfile kA2{.family = "Atlas A2 (910B)",
                         .bfloat16 = true,
                         .float32_products = true,
                         .gating = true,
                         .blocked_weights = false,
                         .column_multiple = 1};
constexpr SocProfile kA3 = [] {
  SocProfile profile = kA2;
  profile.family = "Atlas A3 (910_93)";
  return profile;
}();
constexpr SocProfile k310P{.family = "Atlas inference (310P)",
                           .bfloat16 = false,
                           .float32_products = false,
                           .gating = false,
                           .blocked_weights = true,
                           .column_multiple = 32};

}  // namespace

const SocProfile& profile_of(std::string_view soc_name) {
  constexpr std::string_view kB = "Ascend910B";  // without a digit behind it: the first 910
  if (soc_name.starts_with(kB) && soc_name.size() > kB.size()) return kA2;
  if (soc_name.starts_with("Ascend910_93")) return kA3;
  if (soc_name.starts_with("Ascend310P")) return k310P;
  throw Error(ErrorCode::kDeviceUnavailable,
              "Expected an Ascend910B1 or later 910B, an Ascend910_93 or an Ascend310P, "
              "got a chip that calls itself `" +
                  std::string(soc_name) + "`");
}

}  // namespace moe::ascend
