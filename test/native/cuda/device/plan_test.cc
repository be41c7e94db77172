// The plan of the device is that of the host.
#include "core/routing/plan.h"

#include <random>

#include "cuda/device/device_case.h"

namespace moe::test {
namespace {

class CudaPlan : public OnDevice {
 protected:
  void expect_same(const std::vector<int32_t>& choices, int32_t experts) {
    SortedSlots expected;
    expected.sort(choices, experts, 1);
    const std::unique_ptr<Plan> plan = cuda().moe().plan(choices, experts, 1);
    if (choices.empty()) return;  // nothing to sort
    cuda::PlanBuffers& sorted = *static_cast<const cuda::CudaPlan&>(*plan).buffers;
    EXPECT_EQ(downloaded(sorted.offsets, experts + 1), expected.offsets);
    EXPECT_EQ(downloaded(sorted.row_of_slot, choices.size()), expected.row_of_slot);
    const std::vector<int32_t> slot_of_row = downloaded(sorted.slot_of_row, expected.rows());
    EXPECT_TRUE(std::equal(slot_of_row.begin(), slot_of_row.end(), expected.slot_of_row.begin()));
  }

 private:
  std::vector<int32_t> downloaded(cuda::Scratch& from, size_t count) {
    std::vector<int32_t> values(count);
    cuda().download(values.data(), from.data(), count * sizeof(int32_t));
    cuda().synchronize();
    return values;
  }
};

TEST_F(CudaPlan, SortsSlotsByExpertAsTheHostDoes) {
  std::mt19937 random(5);
  for (const int32_t experts : {1, 3, 64, 512, 1024})
    for (const int64_t slots : {0, 1, 31, 33, 1023, 1024, 1025, 5000}) {
      SCOPED_TRACE(std::to_string(slots) + " slots, " + std::to_string(experts) + " experts");
      std::vector<int32_t> choices(slots);
      for (int32_t& choice : choices) choice = static_cast<int32_t>(random() % (experts + 1)) - 1;
      expect_same(choices, experts);
    }
}

TEST_F(CudaPlan, TakesAllToOneExpertAndNoneAtAll) {
  expect_same(std::vector<int32_t>(3000, 2), 5);
  expect_same(std::vector<int32_t>(3000, -1), 5);
}

}  // namespace
}  // namespace moe::test
