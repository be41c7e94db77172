// Rows sorted by expert: by an operator where the choices are on the device, else by a plan made on the host.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "ascend/acl_op.h"
#include "ascend/transfer.h"
#include "core/host/pool.h"
#include "core/moe_stages.h"
#include "core/routing/plan.h"

namespace moe::ascend {

// What MoeInitRouting makes of tokens and their choices.
struct SortedRows {
  Array rows;    // [T * K, columns]
  Array counts;  // int64 [E]
};

class DeviceSort {
 public:
  DeviceSort(Npu& device, OperatorQueue& queue) : device_(device), operators_(device.cann().operators), queue_(queue) {}

  // x [T, columns], chosen int32 [T, K], each from 0 to E - 1. row_of_slot: [T * K] and expert_load: [E],
  // each null where nobody asks. What is returned is valid until the next call.
  SortedRows run(const Array& x, const Array& chosen, int64_t num_experts, int32_t* row_of_slot, uint32_t* expert_load);

 private:
  Npu& device_;
  const cann::Operators& operators_;
  OperatorQueue& queue_;
  DeviceScratch rows_{device_}, row_of_slot_{device_}, counts_{device_}, load_{device_}, before_capacity_{device_};
  DeviceScratch scales_{device_};
};

// Slots sorted on the host, and what operators need of that.
class HostPlan {
 public:
  explicit HostPlan(Npu& npu) : row_of_slot_(npu), tokens_(npu), counts_(npu), completed_(npu) {}

  void make(HostLink& link, std::span<const int32_t> choices, int32_t num_experts, int32_t fan_out);
  const SortedSlots& sorted() const { return sorted_; }

  // Token numbers, int64, of the rows [first, first + count); valid until the next call.
  Array tokens(HostLink& link, int64_t first, int64_t count);
  // How many of them each expert has, int64 [E]; valid until the next call.
  Array counts(HostLink& link, int64_t first, int64_t count);
  // The row of each slot, int32 [slots]; that of a slot that was dropped is the first behind the kept ones.
  Array row_of_slot(HostLink& link);
  // Memory for the same, of a plan that an operator makes.
  int32_t* reserve_row_of_slot(int64_t slots) { return row_of_slot_.reserve<int32_t>(slots); }

 private:
  SortedSlots sorted_;
  std::vector<int64_t> numbers_;
  DeviceScratch row_of_slot_, tokens_, counts_, completed_;
};

class AscendRouting;

class AscendPlan final : public Plan {
 public:
  AscendPlan(Pool<HostPlan>::Taken taken, int64_t slots, const AscendRouting* routing)
      : host(std::move(taken)), slots(slots), routing(routing) {}
  Pool<HostPlan>::Taken host;
  const int64_t slots;
  // Whose choices are on the device alone: an operator sorts them when the experts run. Null where the host has sorted.
  mutable const AscendRouting* routing;
};

}  // namespace moe::ascend
