// What the chips differ in, as far as a layer is concerned.
#pragma once
#include <cstdint>
#include <string_view>

namespace moe::ascend {

struct SocProfile {
  const char* family;
  bool bfloat16;
  bool float32_products;    // matrix products keep float32
  bool gating;              // MoE gating and sorting operators that mean what ours do
  bool blocked_weights;     // grouped products take weights in FRACTAL_NZ only
  int64_t column_multiple;  // rows of this many columns, or a multiple
};

// By the name aclrtGetSocName gives. Throws kDeviceUnavailable for a chip without a profile.
const SocProfile& profile_of(std::string_view soc_name);

}  // namespace moe::ascend
