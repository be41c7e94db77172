#include "core/routing/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "routing_case.h"

namespace moe::test {
namespace {

SortedSlots sorted(const std::vector<int32_t>& experts, int32_t num_experts) {
  SortedSlots slots;
  slots.sort(experts, num_experts, 2);
  return slots;
}

TEST(Plan, SortsKeptSlotsByExpertInBatchOrder) {
  const SortedSlots plan = sorted({2, 0, -1, 2, 0, 3}, 5);
  EXPECT_EQ(plan.offsets, (std::vector<int32_t>{0, 2, 2, 4, 5, 5}));
  EXPECT_EQ(plan.row_of_slot, (std::vector<int32_t>{2, 0, -1, 3, 1, 4}));
  EXPECT_EQ((std::vector<int32_t>(plan.slot_of_row.begin(), plan.slot_of_row.begin() + 5)),
            (std::vector<int32_t>{1, 4, 0, 3, 5}));
}

TEST(Plan, HoldsItsPropertiesOnRandomBatches) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const auto num_experts = static_cast<int32_t>(random.integer(1, 20));
    std::vector<int32_t> experts(random.integer(0, 60));
    for (int32_t& expert : experts) expert = static_cast<int32_t>(random.integer(-1, num_experts - 1));
    const SortedSlots plan = sorted(experts, num_experts);

    EXPECT_EQ(plan.offsets[0], 0);
    EXPECT_TRUE(std::is_sorted(plan.offsets.begin(), plan.offsets.end()));
    const auto kept = std::count_if(experts.begin(), experts.end(), [](int32_t expert) { return expert >= 0; });
    EXPECT_EQ(plan.offsets.back(), kept);
    for (size_t slot = 0; slot < experts.size(); ++slot) {
      const int32_t row = plan.row_of_slot[slot];
      EXPECT_EQ(row < 0, experts[slot] < 0);
      if (row < 0) continue;
      EXPECT_EQ(plan.slot_of_row[row], static_cast<int32_t>(slot));
      EXPECT_TRUE(plan.offsets[experts[slot]] <= row && row < plan.offsets[experts[slot] + 1]);
    }
    for (int32_t expert = 0; expert < num_experts; ++expert)
      EXPECT_TRUE(std::is_sorted(plan.slot_of_row.begin() + plan.offsets[expert],
                                 plan.slot_of_row.begin() + plan.offsets[expert + 1]));
  }
}

TEST(Plan, IsEmptyForAnEmptyBatchAndWhereAllWasDropped) {
  EXPECT_EQ(sorted({}, 3).offsets, (std::vector<int32_t>{0, 0, 0, 0}));
  const SortedSlots dropped = sorted({-1, -1}, 3);
  EXPECT_EQ(dropped.offsets, (std::vector<int32_t>{0, 0, 0, 0}));
  EXPECT_EQ(dropped.row_of_slot, (std::vector<int32_t>{-1, -1}));
}

}  // namespace
}  // namespace moe::test
