// Rows sorted by expert: by an operator where the choices are on the device, else by a plan made on the host.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "ascend/acl_op.h"
#include "ascend/transfer.h"
#include "core/device.h"

namespace moe::ascend {

// What MoeInitRouting makes of tokens and their choices.
struct SortedRows {
  Array rows;    // [T * K, columns]
  Array counts;  // int64 [E]
};

class DeviceSort {
 public:
  DeviceSort(Npu& device, OperatorQueue& queue);

  // x [T, columns], chosen int32 [T, K], each from 0 to E - 1. row_of_slot: [T * K] and expert_load: [E],
  // each null where nobody asks. What is returned is valid until the next call.
  SortedRows run(const Array& x, const Array& chosen, int64_t num_experts, int32_t* row_of_slot, uint32_t* expert_load);

 private:
  const cann::Operators& operators_;
  OperatorQueue& queue_;
  DeviceScratch rows_, row_of_slot_, counts_, load_, before_capacity_, scales_;
};

// A plan of native/core and what the device needs of it.
class HostPlan {
 public:
  HostPlan(Npu& device, HostLink& link);

  // Sorts the choices, on the host, and sends the plan to where `out` says.
  void make(const int32_t* experts, int32_t num_experts, const DispatchPlan& out);
  // Reads a plan that somebody else made: waits. `row_of_slot` is not read.
  void read(const DispatchPlan& plan, int64_t num_experts);

  int64_t rows() const { return offsets_.back(); }  // kept slots
  bool drops() const { return rows() < static_cast<int64_t>(row_of_slot_.size()); }

  // Token numbers, int64, of the rows [first, first + count); valid until the next call.
  Array tokens(int64_t first, int64_t count);
  // How many of them each expert has, int64 [E]; valid until the next call.
  Array counts(int64_t first, int64_t count);
  // row_of_slot [slots], int32, as an operator takes it: a slot without a row has row `none`. Valid until the next
  // call.
  Array rows_of_slots(std::span<const int32_t> row_of_slot, int32_t none);
  std::span<const int32_t> row_of_slot() const { return row_of_slot_; }

 private:
  Npu& device_;
  HostLink& link_;
  int32_t fan_out_ = 1;
  std::vector<int32_t> slot_of_row_, row_of_slot_, offsets_;
  std::vector<int64_t> numbers_;
  DeviceScratch tokens_, counts_, rows_;
};

}  // namespace moe::ascend
