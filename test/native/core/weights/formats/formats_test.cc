#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "core/weight_format.h"

namespace moe {
namespace {

TEST(Formats, AreFoundByTheirTypeAndHaveNamesOfTheirOwn) {
  std::set<std::string> names;
  for (const WeightFormat& format : weight_formats()) {
    EXPECT_EQ(&format_of(format.type), &format);
    names.insert(format.name);
  }
  EXPECT_EQ(names, (std::set<std::string>{"float32", "bfloat16", "float16", "int8", "int4"}));
}

TEST(Formats, SayHowManyBytesAnOutputFeatureHas) {
  EXPECT_EQ(format_of(WeightType::kFloat32).row_bytes(100, 0), 400);
  EXPECT_EQ(format_of(WeightType::kBFloat16).row_bytes(100, 0), 200);
  EXPECT_EQ(format_of(WeightType::kInt8).row_bytes(100, 0), 100 + 2);
  EXPECT_EQ(format_of(WeightType::kInt8).row_bytes(100, 32), 100 + 4 * 2);
  EXPECT_EQ(format_of(WeightType::kInt4).row_bytes(101, 64), 51 + 2 * 2);
}

// The error that a format of so many bits leaves, in units of the largest weight.
TEST(Formats, GiveBackWhatTheyWereGiven) {
  constexpr int64_t kCount = 70;
  std::vector<float> weights(kCount);
  for (int64_t i = 0; i < kCount; ++i) weights[i] = std::sin(static_cast<float>(i));
  for (const WeightFormat& format : weight_formats()) {
    const bool exact = format.bits == 32;
    const float most = exact ? 0 : format.has_groups() ? std::ldexp(1.2f, -format.bits) : 0x1p-9f;
    const std::vector<int32_t> groups(format.groups.begin(), format.groups.end());
    for (const int32_t group : groups.empty() ? std::vector<int32_t>{0} : groups) {
      std::vector<std::byte> codes(kCount * format.code_bytes());
      std::vector<std::byte> scales(format.num_groups(kCount, group) * format.scale_bytes);
      std::vector<float> back(kCount);
      format.encode(weights.data(), kCount, group, codes.data(), scales.data());
      format.decode(codes.data(), scales.data(), kCount, group, back.data());
      bool changed = false;
      for (int64_t i = 0; i < kCount; ++i) {
        EXPECT_TRUE(std::abs(back[i] - weights[i]) <= most) << format.name << " " << group << " " << i;
        changed |= back[i] != weights[i];
      }
      EXPECT_EQ(changed, !exact) << format.name;
    }
  }
}

}  // namespace
}  // namespace moe
