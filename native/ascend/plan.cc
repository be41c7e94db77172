#include "ascend/plan.h"

#include <algorithm>

namespace moe::ascend {
namespace {

using cann::DataType;

constexpr int64_t kAllRows = 0, kNoCapacity = 0, kDropless = 0, kCount = 2, kNotQuantized = -1;

}  // namespace

SortedRows DeviceSort::run(const Array& x, const Array& chosen, int64_t num_experts, int32_t* row_of_slot,
                           uint32_t* expert_load) {
  const int64_t slots = chosen.dims.product(), columns = x.dims.values[1];
  if (!expert_load) expert_load = load_.reserve<uint32_t>(num_experts);
  if (!row_of_slot) row_of_slot = row_of_slot_.reserve<int32_t>(slots);
  const SortedRows sorted{array_of(rows_.reserve_bytes(slots * columns * size_of(x.type)), x.type, {slots, columns}),
                          array_of(counts_.reserve<int64_t>(num_experts), DataType::kInt64, {num_experts})};
  const Array rows_of_slots = array_of(row_of_slot, DataType::kInt32, {slots});
  const Array load = array_of(expert_load, DataType::kInt32, {num_experts});
  if (operators_.init_routing_v3) {
    const Array scales = array_of(scales_.reserve<float>(slots), DataType::kFloat32, {slots});
    queue_.run(operators_.init_routing_v3, x, chosen, nullptr, nullptr, slots, kNotQuantized, num_experts, kDropless,
               cann::ExpertCounts::kCount, true, kNotQuantized, Dims{0, num_experts}, cann::RowIndex::kGather,
               sorted.rows, rows_of_slots, sorted.counts, scales);
    queue_.run(operators_.cast, sorted.counts, DataType::kInt32, load);
  } else {
    const Array before = array_of(before_capacity_.reserve<int32_t>(num_experts), DataType::kInt32, {num_experts});
    queue_.run(operators_.init_routing_v2, x, chosen, kAllRows, kNoCapacity, num_experts, kDropless, kCount, false,
               sorted.rows, rows_of_slots, load, before);
    queue_.run(operators_.cast, load, DataType::kInt64, sorted.counts);
  }
  return sorted;
}

void HostPlan::make(HostLink& link, std::span<const int32_t> choices, int32_t num_experts, int32_t fan_out) {
  sorted_.sort(choices, num_experts, fan_out);
  if (sorted_.slots() > 0) link.send<int32_t>(reserve_row_of_slot(sorted_.slots()), sorted_.row_of_slot);
}

Array HostPlan::tokens(HostLink& link, int64_t first, int64_t count) {
  numbers_.resize(count);
  for (int64_t i = 0; i < count; ++i) numbers_[i] = sorted_.slot_of_row[first + i] / sorted_.fan_out;
  const Array out = array_of(tokens_.reserve<int64_t>(count), DataType::kInt64, {count});
  link.send<int64_t>(static_cast<int64_t*>(out.data), numbers_);
  return out;
}

Array HostPlan::counts(HostLink& link, int64_t first, int64_t count) {
  const std::vector<int32_t>& offsets = sorted_.offsets;
  const auto num_experts = static_cast<int64_t>(offsets.size()) - 1;
  numbers_.resize(num_experts);
  for (int64_t expert = 0; expert < num_experts; ++expert) {
    const int64_t begin = std::max<int64_t>(first, offsets[expert]);
    const int64_t end = std::min<int64_t>(first + count, offsets[expert + 1]);
    numbers_[expert] = std::max<int64_t>(0, end - begin);
  }
  const Array out = array_of(counts_.reserve<int64_t>(num_experts), DataType::kInt64, {num_experts});
  link.send<int64_t>(static_cast<int64_t*>(out.data), numbers_);
  return out;
}

Array HostPlan::row_of_slot(HostLink& link) {
  const int64_t slots = sorted_.slots();
  if (sorted_.rows() == slots) return array_of(row_of_slot_.data(), DataType::kInt32, {slots});
  std::vector<int32_t> rows = sorted_.row_of_slot;
  std::replace(rows.begin(), rows.end(), -1, static_cast<int32_t>(sorted_.rows()));
  int32_t* const out = completed_.reserve<int32_t>(slots);
  link.send<int32_t>(out, rows);
  return array_of(out, DataType::kInt32, {slots});
}

}  // namespace moe::ascend
