#include "ascend/soc.h"

#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace moe::ascend {
namespace {

TEST(Soc, NamesOfChipsGiveTheirProfile) {
  for (const char* name : {"Ascend910B1", "Ascend910B2C", "Ascend910B4-1"}) {
    EXPECT_STREQ(profile_of(name).family, "Atlas A2 (910B)");
    EXPECT_TRUE(profile_of(name).bfloat16);
  }
  for (const char* name : {"Ascend910_9391", "Ascend910_9362"}) EXPECT_TRUE(profile_of(name).gating);
  for (const char* name : {"Ascend310P1", "Ascend310P3"}) {
    EXPECT_TRUE(profile_of(name).blocked_weights);
    EXPECT_FALSE(profile_of(name).bfloat16);
  }
}

// "Ascend910B" without a digit is a first-generation 910.
TEST(Soc, OtherChipsAreRefusedByName) {
  for (const std::string name : {"Ascend910B", "Ascend910A", "Ascend310B1", "Ascend950", ""}) {
    try {
      profile_of(name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDeviceUnavailable);
      EXPECT_NE(std::string(error.what()).find("`" + name + "`"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace moe::ascend
