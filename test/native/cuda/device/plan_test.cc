// The plan of the device is that of the host.
#include "core/routing/plan.h"

#include <random>

#include "cuda/device/device_case.h"

namespace moe::test {
namespace {

class CudaPlan : public OnDevice {
 protected:
  void expect_same(const std::vector<int32_t>& choices, int32_t experts) {
    const size_t slots = choices.size(), ends = static_cast<size_t>(experts) + 1;
    const auto count = static_cast<int64_t>(slots);
    std::vector<int32_t> slot_of_row(slots, -7), row_of_slot(slots, -7), offsets(ends, -7);
    plan_on_host(choices.data(), experts, {slot_of_row.data(), row_of_slot.data(), offsets.data(), count, 1});

    DeviceBuffer in(cuda()), slots_of(cuda()), rows_of(cuda()), offsets_of(cuda());
    const DispatchPlan plan{slots_of.reserve<int32_t>(slots + 1), rows_of.reserve<int32_t>(slots + 1),
                            offsets_of.reserve<int32_t>(ends), count, 1};
    auto* const device_choices = in.reserve<int32_t>(slots + 1);
    const std::vector<int32_t> untouched(slots, -7);
    cuda().upload(device_choices, choices.data(), slots * sizeof(int32_t));
    cuda().upload(plan.slot_of_row, untouched.data(), slots * sizeof(int32_t));
    cuda().plan(device_choices, experts, plan);
    EXPECT_EQ(downloaded(plan.expert_offsets, ends), offsets);
    EXPECT_EQ(downloaded(plan.row_of_slot, slots), row_of_slot);
    EXPECT_EQ(downloaded(plan.slot_of_row, slots), slot_of_row);
  }

 private:
  std::vector<int32_t> downloaded(const int32_t* from, size_t count) {
    std::vector<int32_t> values(count);
    cuda().download(values.data(), from, count * sizeof(int32_t));
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
