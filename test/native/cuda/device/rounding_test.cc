// Each type of weights rounds what docs/cuda.md says, no more and no less, in every projection and on every path.
#include "cuda/device/device_case.h"
#include "rounded_reference.h"

namespace moe::test {
namespace {

class CudaRoundings : public OnDevice {};

TEST_F(CudaRoundings, AreThoseOfTheWeightType) {
  for (const Held& held : kEveryHeld) {
    Rounding rounding;
    if (held.type != WeightType::kFloat32)
      rounding.value = held.type == WeightType::kFloat16 ? as_float16 : as_bfloat16;
    if (format_of(held.type).has_groups()) rounding.weight = as_bfloat16;
    for (const int64_t tokens : {4, 20, 70})
      expect_every_rounding(cuda(), {.hidden = 150, .intermediate = 70, .shared = 140, .held = held}, rounding, tokens);
  }
}

}  // namespace
}  // namespace moe::test
