#include "core/routing/router_capacity.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace moe {
namespace {

MoEConfig config_of(int32_t experts, int32_t top_k, double factor, int32_t multiple = 1) {
  MoEConfig config;
  config.expert_num = experts;
  config.num_experts_chosen = top_k;
  config.capacity_factor = factor;
  config.capacity_multiple = multiple;
  return config;
}

TEST(Capacity, IsComputedInDoubleFromLeftToRight) {
  EXPECT_EQ(capacity_v1(config_of(10, 1, 1.1), 100), 12);
  EXPECT_EQ(capacity_v2(config_of(10, 1, 1.1), 100), 12);
}

TEST(Capacity, OfV1MayExceedTheTokens) {
  EXPECT_EQ(capacity_v1(config_of(4, 1, 5.0), 64), 80);
  EXPECT_EQ(capacity_v2(config_of(4, 1, 5.0), 64), 64);
}

TEST(Capacity, OfV2IsRoundedUpAfterItWasCut) {
  EXPECT_EQ(capacity_v2(config_of(4, 1, 5.0, 10), 64), 70);
  EXPECT_EQ(capacity_v2(config_of(4, 1, 1.0, 3), 64), 18);
  EXPECT_EQ(capacity_v2(config_of(4, 1, 1.0, 8), 64), 16);
}

TEST(Capacity, OfV2IsDroplessAtZeroOrBelow) {
  EXPECT_EQ(capacity_v2(config_of(4, 1, 0.0), 64), kDropless);
  EXPECT_EQ(capacity_v2(config_of(4, 1, -1.0, 5), 64), kDropless);
}

TEST(Capacity, SurvivesAnEnormousFactor) {
  EXPECT_EQ(capacity_v2(config_of(4, 1, 1e300), 64), 64);
  EXPECT_GT(capacity_v1(config_of(4, 1, 1e300), 64), int64_t{1} << 40);
}

TEST(TokenGroups, CoverTheTokensOnceInOrder) {
  for (int64_t tokens = 0; tokens < 20; ++tokens)
    for (int64_t per_group = 0; per_group < 25; ++per_group) {
      const TokenGroups groups(tokens, per_group);
      int64_t next = 0;
      for (int64_t i = 0; i < groups.count(); ++i) {
        EXPECT_EQ(groups[i].begin, next);
        EXPECT_GT(groups[i].size(), 0);
        EXPECT_TRUE(groups[i].size() == groups.full_size() || groups[i].end == tokens);
        next = groups[i].end;
      }
      EXPECT_EQ(next, tokens);
      EXPECT_EQ(groups.full_size(), per_group > 0 ? std::min(per_group, tokens) : tokens);
    }
}

}  // namespace
}  // namespace moe
