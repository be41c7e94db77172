// Each option rounds what it says, no more and no less, in every projection.
#include "ascend/backend/on_both.h"
#include "rounded_reference.h"

namespace moe::test {
namespace {

// As DynamicQuant does it: a float32 scale, and ties to even.
void quantize(std::vector<double>& row) {
  double largest = 0;
  for (const double value : row) largest = std::max(largest, std::abs(value));
  const double scale = static_cast<float>(largest / 127);
  for (double& value : row) value = scale > 0 ? std::nearbyint(value / scale) * scale : 0;
}

void expect_rounded(const Held& held) {
  Rounding rounding;
  if (held.type != WeightType::kFloat32) {
    rounding.value = held.type == WeightType::kFloat16 ? as_float16 : as_bfloat16;
    rounding.results = true;
  }
  if (held.row_type == RowType::kInt8)
    rounding.row = quantize;
  else if (format_of(held.type).has_groups())
    rounding.weight = as_bfloat16;
  ascend::AscendDevice npu(0);
  for (const int64_t tokens : {4, 40})
    expect_every_rounding(npu, {.hidden = 96, .intermediate = 70, .shared = 140, .held = held}, rounding, tokens);
}

TEST(Roundings, AreThoseOfTheWeightType) {
  expect_rounded({WeightType::kFloat16});
  if (!profile().bfloat16) return;
  for (const WeightType type : {WeightType::kFloat32, WeightType::kBFloat16, WeightType::kInt8}) expect_rounded({type});
}

TEST(Roundings, AreThoseOfInt8Rows) {
  if (!profile().bfloat16) GTEST_SKIP() << "the 310P has no such product";
  expect_rounded({WeightType::kInt8, 0, RowType::kInt8});
}

}  // namespace
}  // namespace moe::test
