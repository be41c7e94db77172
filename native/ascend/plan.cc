#include "ascend/plan.h"

#include <algorithm>

#include "core/routing/plan.h"

namespace moe::ascend {
namespace {

using cann::DataType;

constexpr int64_t kAllRows = 0, kNoCapacity = 0, kDropless = 0, kCount = 2, kNotQuantized = -1;

}  // namespace

DeviceSort::DeviceSort(Npu& device, OperatorQueue& queue)
    : operators_(device.cann().operators),
      queue_(queue),
      rows_(device),
      row_of_slot_(device),
      counts_(device),
      load_(device),
      before_capacity_(device),
      scales_(device) {}

SortedRows DeviceSort::run(const Array& x, const Array& chosen, int64_t num_experts, int32_t* row_of_slot,
                           uint32_t* expert_load) {
  const int64_t slots = chosen.dims.product(), columns = x.dims.values[1];
  if (!expert_load) expert_load = load_.reserve_as<uint32_t>(num_experts);
  if (!row_of_slot) row_of_slot = row_of_slot_.reserve_as<int32_t>(slots);
  const SortedRows sorted{array_of(rows_.reserve(slots * columns * size_of(x.type)), x.type, {slots, columns}),
                          array_of(counts_.reserve_as<int64_t>(num_experts), DataType::kInt64, {num_experts})};
  const Array rows_of_slots = array_of(row_of_slot, DataType::kInt32, {slots});
  const Array load = array_of(expert_load, DataType::kInt32, {num_experts});
  if (operators_.init_routing_v3) {
    const Array scales = array_of(scales_.reserve_as<float>(slots), DataType::kFloat32, {slots});
    queue_.run(operators_.init_routing_v3, x, chosen, nullptr, nullptr, slots, kNotQuantized, num_experts, kDropless,
               cann::ExpertCounts::kCount, true, kNotQuantized, Dims{0, num_experts}, cann::RowIndex::kGather,
               sorted.rows, rows_of_slots, sorted.counts, scales);
    queue_.run(operators_.cast, sorted.counts, DataType::kInt32, load);
  } else {
    const Array before = array_of(before_capacity_.reserve_as<int32_t>(num_experts), DataType::kInt32, {num_experts});
    queue_.run(operators_.init_routing_v2, x, chosen, kAllRows, kNoCapacity, num_experts, kDropless, kCount, false,
               sorted.rows, rows_of_slots, load, before);
    queue_.run(operators_.cast, load, DataType::kInt64, sorted.counts);
  }
  return sorted;
}

HostPlan::HostPlan(Npu& device, HostLink& link)
    : device_(device), link_(link), tokens_(device), counts_(device), rows_(device) {}

void HostPlan::make(const int32_t* experts, int32_t num_experts, const DispatchPlan& out) {
  fan_out_ = out.fan_out;
  slot_of_row_.resize(out.slots);
  row_of_slot_.resize(out.slots);
  offsets_.resize(num_experts + 1);
  plan_on_host(experts, num_experts,
               {slot_of_row_.data(), row_of_slot_.data(), offsets_.data(), out.slots, out.fan_out});
  link_.send<int32_t>(out.slot_of_row, std::span(slot_of_row_).first(rows()));
  link_.send<int32_t>(out.row_of_slot, row_of_slot_);
  link_.send<int32_t>(out.expert_offsets, offsets_);
}

void HostPlan::read(const DispatchPlan& plan, int64_t num_experts) {
  fan_out_ = plan.fan_out;
  const int32_t* const offsets = link_.read(plan.expert_offsets, num_experts + 1);
  offsets_.assign(offsets, offsets + num_experts + 1);
  row_of_slot_.clear();
  slot_of_row_.clear();
  if (rows() == 0) return;
  const int32_t* const slots = link_.read(plan.slot_of_row, rows());
  slot_of_row_.assign(slots, slots + rows());
}

Array HostPlan::tokens(int64_t first, int64_t count) {
  numbers_.resize(count);
  for (int64_t i = 0; i < count; ++i) numbers_[i] = slot_of_row_[first + i] / fan_out_;
  const Array out = array_of(tokens_.reserve_as<int64_t>(count), DataType::kInt64, {count});
  link_.send<int64_t>(static_cast<int64_t*>(out.data), numbers_);
  return out;
}

Array HostPlan::counts(int64_t first, int64_t count) {
  const auto num_experts = static_cast<int64_t>(offsets_.size()) - 1;
  numbers_.resize(num_experts);
  for (int64_t expert = 0; expert < num_experts; ++expert) {
    const int64_t begin = std::max<int64_t>(first, offsets_[expert]);
    const int64_t end = std::min<int64_t>(first + count, offsets_[expert + 1]);
    numbers_[expert] = std::max<int64_t>(0, end - begin);
  }
  const Array out = array_of(counts_.reserve_as<int64_t>(num_experts), DataType::kInt64, {num_experts});
  link_.send<int64_t>(static_cast<int64_t*>(out.data), numbers_);
  return out;
}

Array HostPlan::rows_of_slots(std::span<const int32_t> row_of_slot, int32_t none) {
  std::vector<int32_t> rows(row_of_slot.begin(), row_of_slot.end());
  std::replace(rows.begin(), rows.end(), -1, none);
  const auto slots = static_cast<int64_t>(rows.size());
  const Array out = array_of(rows_.reserve_as<int32_t>(slots), DataType::kInt32, {slots});
  link_.send<int32_t>(static_cast<int32_t*>(out.data), rows);
  return out;
}

}  // namespace moe::ascend
