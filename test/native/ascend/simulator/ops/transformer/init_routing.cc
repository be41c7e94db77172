// Tokens are copied and sorted by expert: the first two interfaces.
#include "../../nnop/op.h"
#include "../group_list.h"
#include "../quantize_row.h"
#include "../sorted_slots.h"

namespace ascend_sim {
namespace {

struct RoutingV2 {
  int64_t active, capacity, expert_num, drop_pad_mode, count_flag;
  bool before_flag;
  int64_t quant_mode = -1;  // -1 none, 0 static, 1 dynamic
};

struct RoutingTensors {
  const aclTensor *x, *experts, *scale, *offset, *expanded, *row_index, *counts, *before, *dynamic_scale;
};

// One row of x as the quantised operator writes it; returns its scale.
double quantize(std::vector<double>& row, int64_t mode, const std::vector<double>& scale,
                const std::vector<double>& offset, int64_t expert) {
  const auto width = static_cast<int64_t>(row.size());
  if (mode == 0) {
    for (double& value : row) value = value * scale[0] + offset[0];
    return 1;
  }
  if (!scale.empty()) {
    const int64_t first = static_cast<int64_t>(scale.size()) == width ? 0 : expert * width;
    for (int64_t i = 0; i < width; ++i) row[i] *= scale[first + i];
  }
  return quantize_row(row.data(), width);
}

void route(Op& op, const RoutingTensors& t, const RoutingV2& r) {
  const bool old = soc() == Soc::k310P;
  const bool quantised = r.quant_mode >= 0;
  const auto x = old ? op.in("x", t.x, {kFloat, kFloat16}) : op.in("x", t.x, kFloats);
  const auto ids = op.in("expertIdx", t.experts, {kInt32});
  const auto scale = op.optional_in("scale", t.scale, {kFloat});
  const auto offset = op.optional_in("offset", t.offset, {kFloat});
  const auto out =
      quantised ? op.out("expandedXOut", t.expanded, {kInt8}) : op.out("expandedXOut", t.expanded, kFloats);
  const auto index = op.out("expandedRowIdxOut", t.row_index, {kInt32});
  if (!quantised) op.same_type(out, x);
  op.nd(x);
  op.require(x->rank() == 2 && ids->rank() == 2 && x->dim(0) == ids->dim(0),
             "x must be [N, H] and expertIdx [N, k], got " + text(x->shape) + " and " + text(ids->shape));
  const int64_t n = x->dim(0);
  const int64_t h = x->dim(1);
  const int64_t k = ids->dim(1);
  const int64_t slots = n * k;
  if (old) {
    op.require(h % 32 == 0, "on a 310P H must be a multiple of 32, got " + std::to_string(h));
    op.require(r.drop_pad_mode == 0, "a 310P routes dropless only");
  }
  op.require(r.active >= 0, "activeNum must be 0 or more");
  op.require(r.drop_pad_mode == 0 || r.drop_pad_mode == 1, "dropPadMode must be 0 or 1");
  op.require(r.count_flag >= 0 && r.count_flag <= 2, "expertTokensCountOrCumsumFlag must be 0, 1 or 2");
  const bool padded = r.drop_pad_mode == 1;
  op.require(r.count_flag == 0 || r.expert_num > 0, "expertNum must be above 0 when counts are asked for");
  op.require(!padded || (r.expert_num > 0 && r.capacity > 0),
             "dropPadMode 1 needs expertNum and expertCapacity above 0");
  const int64_t rows = r.active > 0 ? std::min(r.active, slots) : slots;
  if (padded)
    op.shape(out, {r.expert_num, r.capacity, h});
  else
    op.shape(out, {rows, h});
  op.shape(index, {slots});
  require(r.count_flag == 0 || t.counts, kNullptr, "expertTokensCountOrCumsumOut is null although it was asked for");
  require(!padded || !r.before_flag || t.before, kNullptr,
          "expertTokensBeforeCapacityOut is null although it was asked for");
  const auto counts = op.optional_out("expertTokensCountOrCumsumOut", t.counts, {kInt32});
  const auto before = op.optional_out("expertTokensBeforeCapacityOut", t.before, {kInt32});
  if (r.count_flag != 0) op.shape(counts, {r.expert_num});
  if (padded && r.before_flag) op.shape(before, {r.expert_num});
  const auto scales = op.optional_out("dynamicQuantScaleOut", t.dynamic_scale, {kFloat});
  require(r.quant_mode != 1 || scales.given(), kNullptr, "dynamicQuantScaleOut is null although quantMode is 1");
  if (r.quant_mode == 1)
    op.require(scales->size() == out->size() / h, "dynamicQuantScaleOut must have a value per row");
  if (r.quant_mode == 0) {
    require(scale.given() && offset.given(), kNullptr, "static quantisation needs scale and offset");
    op.shape(scale, {1});
    op.shape(offset, {1});
  } else if (scale.given()) {
    op.require(scale->shape == Shape{r.expert_num, h} || scale->shape == Shape{1, h}, "scale must be [E, H] or [1, H]");
  }
  op.workspace(2048 + slots * 16);
  op.run([=](const Frame& frame) {
    const auto values = frame.numbers(x);
    const auto experts = frame.integers(ids);
    for (const int64_t expert : experts)
      frame.require(expert >= 0 && (r.expert_num == 0 || expert < r.expert_num),
                    "expertIdx " + std::to_string(expert) + " is not in [0, " + std::to_string(r.expert_num) + ")");
    const auto smooth = scale.given() ? frame.numbers(scale) : std::vector<double>();
    const auto shift = offset.given() ? frame.numbers(offset) : std::vector<double>();
    const auto order = sorted_slots(experts);
    std::vector<int64_t> count(std::max<int64_t>(r.expert_num, 0), 0);
    std::vector<int64_t> position(slots, -1);
    std::vector<double> result(padded ? r.expert_num * r.capacity * h : rows * h, 0);
    std::vector<double> found(padded ? r.expert_num * r.capacity : rows, 0);
    for (int64_t sorted = 0; sorted < slots; ++sorted) {
      const int64_t slot = order[sorted];
      const int64_t expert = experts[slot];
      const int64_t place = r.expert_num > 0 ? count[expert]++ : 0;
      int64_t to = sorted;
      if (padded) {
        if (place >= r.capacity) continue;
        to = expert * r.capacity + place;
      }
      position[slot] = to;
      if (!padded && to >= rows) continue;
      std::vector<double> row(values.begin() + slot / k * h, values.begin() + (slot / k + 1) * h);
      if (quantised) found[to] = quantize(row, r.quant_mode, smooth, shift, expert);
      std::copy(row.begin(), row.end(), result.begin() + to * h);
    }
    frame.store(out, result);
    frame.store_integers(index, position);
    frame.note(index, kRowOrder);
    if (r.quant_mode == 1) frame.store(scales, found);
    if (before.given()) {
      if (padded && r.before_flag)
        frame.store_integers(before, count);
      else
        frame.spoil(before);
    }
    if (!counts.given()) return;
    if (r.count_flag == 0) return frame.spoil(counts);
    if (padded)
      for (int64_t& value : count) value = std::min(value, r.capacity);
    if (r.count_flag == 1)
      for (size_t e = 1; e < count.size(); ++e) count[e] += count[e - 1];
    frame.store_integers(counts, count);
    frame.note(counts, r.count_flag == 1 ? kRunningSums : kCounts);
  });
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnMoeInitRoutingGetWorkspaceSize(const aclTensor* x, const aclTensor* row_index,
                                                const aclTensor* experts, int64_t active, const aclTensor* expanded,
                                                const aclTensor* expanded_row_index, const aclTensor* expanded_experts,
                                                uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnMoeInitRouting", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2, Soc::kA3});
    const auto in = op.in("x", x, kFloats);
    const auto columns = op.in("rowIdx", row_index, {kInt32});
    const auto ids = op.in("expertIdx", experts, {kInt32});
    const auto out = op.out("expandedXOut", expanded, kFloats);
    const auto index = op.out("expandedRowIdxOut", expanded_row_index, {kInt32});
    const auto sorted = op.out("expandedExpertIdxOut", expanded_experts, {kInt32});
    op.same_type(out, in);
    op.require(in->rank() == 2 && ids->rank() == 2 && in->dim(0) == ids->dim(0), "x must be [N, H], expertIdx [N, k]");
    const int64_t n = in->dim(0);
    const int64_t h = in->dim(1);
    const int64_t k = ids->dim(1);
    op.require(active >= 0, "activeNum must be 0 or more");
    const int64_t rows = std::min(active, n) * k;
    op.shape(columns, ids->shape);
    op.shape(out, {rows, h});
    op.shape(index, {n * k});
    op.shape(sorted, {n * k});
    op.workspace(2048 + n * k * 16);
    op.run([=](const Frame& frame) {
      const auto values = frame.numbers(in);
      const auto column_order = frame.integers(columns);
      const auto expert_of = frame.integers(ids);
      const auto order = sorted_slots(expert_of);
      std::vector<int64_t> position(n * k);
      std::vector<int64_t> in_order(n * k);
      std::vector<int64_t> from;
      for (int64_t r = 0; r < n * k; ++r) {
        const int64_t row = column_order[order[r]];
        frame.require(row >= 0 && row < n * k, "rowIdx " + std::to_string(row) + " is not in [0, N * k)");
        position[row] = r;  // the index is numbered as rowIdx is: choice * N + token
        in_order[r] = expert_of[order[r]];
        if (r < rows) from.push_back(row % n);
      }
      frame.store(out, taken_rows(values, h, from));
      frame.store_integers(index, position);
      frame.note(index, kColumnOrder);
      frame.store_integers(sorted, in_order);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeInitRouting)

aclnnStatus aclnnMoeInitRoutingV2GetWorkspaceSize(const aclTensor* x, const aclTensor* experts, int64_t active,
                                                  int64_t capacity, int64_t expert_num, int64_t drop_pad_mode,
                                                  int64_t count_flag, bool before_capacity_flag,
                                                  const aclTensor* expanded, const aclTensor* row_index,
                                                  const aclTensor* counts, const aclTensor* counts_before_capacity,
                                                  uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnMoeInitRoutingV2", size, executor, [&](Op& op) {
    route(op, {x, experts, nullptr, nullptr, expanded, row_index, counts, counts_before_capacity, nullptr},
          {active, capacity, expert_num, drop_pad_mode, count_flag, before_capacity_flag});
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeInitRoutingV2)

aclnnStatus aclnnMoeInitRoutingQuantV2GetWorkspaceSize(
    const aclTensor* x, const aclTensor* experts, const aclTensor* scale, const aclTensor* offset, int64_t active,
    int64_t capacity, int64_t expert_num, int64_t drop_pad_mode, int64_t count_flag, bool before_capacity_flag,
    int64_t quant_mode, const aclTensor* expanded, const aclTensor* row_index, const aclTensor* counts,
    const aclTensor* counts_before_capacity, const aclTensor* dynamic_scale, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnMoeInitRoutingQuantV2", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2, Soc::kA3});
    op.require(quant_mode == 0 || quant_mode == 1, "quantMode must be 0 or 1");
    route(op, {x, experts, scale, offset, expanded, row_index, counts, counts_before_capacity, dynamic_scale},
          {active, capacity, expert_num, drop_pad_mode, count_flag, before_capacity_flag, quant_mode});
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeInitRoutingQuantV2)

aclnnStatus aclnnMoeComputeExpertTokensGetWorkspaceSize(const aclTensor* sorted_experts, int64_t expert_num,
                                                        const aclTensor* out, uint64_t* size,
                                                        aclOpExecutor** executor) {
  return plan_op("aclnnMoeComputeExpertTokens", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2, Soc::kA3});
    const auto sorted = op.in("sortedExperts", sorted_experts, {kInt32});
    const auto ends = op.out("out", out, {kInt32});
    op.require(expert_num >= 1 && expert_num <= 2048, "numExperts must be in [1, 2048]");
    op.require(sorted->rank() == 1, "sortedExperts must have one dimension");
    op.shape(ends, {expert_num});
    op.workspace(1024);
    op.run([=](const Frame& frame) {
      const auto experts = frame.integers(sorted);
      frame.require(std::is_sorted(experts.begin(), experts.end()), "sortedExperts is not ascending");
      std::vector<int64_t> result;
      for (int64_t e = 0; e < expert_num; ++e)
        result.push_back(std::upper_bound(experts.begin(), experts.end(), e) - experts.begin());
      frame.store_integers(ends, result);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeComputeExpertTokens)

}  // extern "C"
