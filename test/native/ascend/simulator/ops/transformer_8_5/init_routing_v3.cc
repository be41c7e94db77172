// Tokens are copied and sorted by expert: the third interface, with a range of experts and int64 counts.
#include <cmath>

#include "../../nnop/op.h"
#include "../../nnop/release.h"
#include "../group_list.h"
#include "../quantize_row.h"
#include "../sorted_slots.h"

namespace ascend_sim {
namespace {

enum CountType : int64_t { kRunningSum = 0, kCount = 1, kKeyValue = 2 };

struct RoutingV3 {
  int64_t active, capacity, expert_num, drop_pad_mode, count_type;
  bool count_flag;
  int64_t quant_mode, first, last, row_index_type;
};

void check_attributes(const Op& op, const RoutingV3& r, int64_t slots) {
  const bool early = release() < 91;
  op.require(early ? r.active == slots : r.active >= -1, "activeNum must be N * k = " + std::to_string(slots) +
                                                             " in this release, got " + std::to_string(r.active));
  op.require(r.drop_pad_mode == 0 || (!early && r.drop_pad_mode == 1), "dropPadMode must be 0 in this release");
  op.require(r.count_type == kCount || r.count_type == kKeyValue || (!early && r.count_type == kRunningSum),
             "expertTokensNumType must be 1 or 2 in this release, got " + std::to_string(r.count_type));
  op.require(r.count_flag || !early, "expertTokensNumFlag must be true in this release");
  op.require(r.quant_mode == -1 || r.quant_mode == 1 || (!early && r.quant_mode == 0),
             "quantMode must be -1 or 1 in this release");
  op.require(r.row_index_type == 0 || r.row_index_type == 1, "rowIdxType must be 0 or 1");
  op.require(r.expert_num >= 1 && r.expert_num <= (r.count_type == kKeyValue ? 5120 : 10240),
             "expertNum is out of range");
  op.require(r.first >= 0 && r.first < r.last && r.last <= r.expert_num,
             "activeExpertRange must be [first, last) inside [0, expertNum), got [" + std::to_string(r.first) + ", " +
                 std::to_string(r.last) + ")");
  op.require(r.drop_pad_mode == 0 || (r.capacity > 0 && r.first == 0 && r.last == r.expert_num),
             "dropPadMode 1 needs a capacity and all experts");
}

std::vector<int64_t> count_output(const RoutingV3& r, const std::vector<int64_t>& count) {
  std::vector<int64_t> result(count.begin() + r.first, count.begin() + r.last);
  if (r.count_type == kRunningSum)
    for (size_t i = 1; i < result.size(); ++i) result[i] += result[i - 1];
  if (r.count_type != kKeyValue) return result;
  std::vector<int64_t> pairs;
  for (int64_t e = r.first; e < r.last; ++e)
    if (count[e] > 0) pairs.insert(pairs.end(), {e, count[e]});
  pairs.resize(2 * r.expert_num, 0);
  return pairs;
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnMoeInitRoutingV3GetWorkspaceSize(const aclTensor* x, const aclTensor* experts, const aclTensor* scale,
                                                  const aclTensor* offset, int64_t active, int64_t capacity,
                                                  int64_t expert_num, int64_t drop_pad_mode, int64_t count_type,
                                                  bool count_flag, int64_t quant_mode, const aclIntArray* expert_range,
                                                  int64_t row_index_type, const aclTensor* expanded,
                                                  const aclTensor* row_index, const aclTensor* counts,
                                                  const aclTensor* expanded_scale, uint64_t* size,
                                                  aclOpExecutor** executor) {
  return plan_op("aclnnMoeInitRoutingV3", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2, Soc::kA3});
    const auto in = op.in("x", x, {kFloat, kFloat16, kBf16, kInt8});
    const auto ids = op.in("expertIdx", experts, {kInt32});
    const auto scales = op.optional_in("scale", scale, {kFloat});
    op.absent("offset", offset, "static quantisation is not simulated");
    const auto out = op.out("expandedXOut", expanded, {kFloat, kFloat16, kBf16, kInt8});
    const auto index = op.out("expandedRowIdxOut", row_index, {kInt32});
    const auto number = op.out("expertTokensCountOrCumsumOut", counts, {kInt64});
    const auto out_scale = op.out("expandedScaleOut", expanded_scale, {kFloat});
    op.nd(in);
    op.require(in->rank() == 2 && ids->rank() == 2 && in->dim(0) == ids->dim(0),
               "x must be [N, H] and expertIdx [N, k], got " + text(in->shape) + " and " + text(ids->shape));
    const int64_t h = in->dim(1);
    const int64_t k = ids->dim(1);
    const int64_t slots = in->dim(0) * k;
    require(expert_range != nullptr, kNullptr, "activeExpertRange is null");
    const auto range = array_of(expert_range);
    op.require(range.size() == 2, "activeExpertRange must have two values");
    const RoutingV3 r{active,     capacity,   expert_num, drop_pad_mode, count_type,
                      count_flag, quant_mode, range[0],   range[1],      row_index_type};
    check_attributes(op, r, slots);
    const bool dynamic = quant_mode == 1;
    require(quant_mode != 0, kInvalid, "static quantisation is not simulated");
    require(!dynamic || in->type != kInt8, kInvalid, "int8 is not quantised again");
    require(out->type == (dynamic ? static_cast<int>(kInt8) : in->type), kInvalid,
            "expandedXOut must be of " + type_name(dynamic ? static_cast<int>(kInt8) : in->type));
    const bool padded = drop_pad_mode == 1;
    const int64_t rows = active > 0 ? std::min(active, slots) : slots;
    if (padded)
      op.shape(out, {expert_num, capacity, h});
    else
      op.shape(out, {rows, h});
    op.shape(index, {slots});
    if (count_type == kKeyValue)
      op.shape(number, {expert_num, 2});
    else
      op.shape(number, {r.last - r.first});
    op.require(out_scale->size() == out->size() / std::max<int64_t>(h, 1),
               "expandedScaleOut must have a value per row");
    if (scales.given() && dynamic)
      op.require(scales->shape == Shape{r.last - r.first, h} || scales->shape == Shape{1, h},
                 "scale must be [E, H] or [1, H]");
    else
      op.shape(scales, {in->dim(0)});
    op.workspace(2048 + slots * 24);
    op.run([=](const Frame& frame) {
      const auto values = frame.numbers(in);
      for (const double value : values) frame.require(std::isfinite(value), "x is not finite, which is not supported");
      const auto expert_of = frame.integers(ids);
      const auto factors = scales.given() ? frame.numbers(scales) : std::vector<double>();
      for (const int64_t expert : expert_of)
        frame.require(expert >= 0 && expert < expert_num,
                      "expertIdx " + std::to_string(expert) + " is not in [0, " + std::to_string(expert_num) + ")");
      std::vector<int64_t> count(expert_num, 0);
      std::vector<int64_t> position(slots, -1);
      std::vector<int64_t> source(slots, -1);
      std::vector<double> result(out->size(), 0);
      std::vector<double> found(out_scale->size(), 0);
      int64_t written = 0;
      for (const int64_t slot : sorted_slots(expert_of)) {
        const int64_t expert = expert_of[slot];
        if (expert < r.first || expert >= r.last) continue;
        const int64_t place = count[expert]++;
        int64_t to = written;
        if (padded) {
          if (place >= capacity) continue;
          to = expert * capacity + place;
        } else if (written >= rows) {
          continue;
        }
        position[slot] = to;
        source[written++] = slot;
        std::vector<double> row(values.begin() + slot / k * h, values.begin() + (slot / k + 1) * h);
        if (dynamic) {
          if (!factors.empty()) {
            const int64_t first = scales->dim(0) == 1 ? 0 : (expert - r.first) * h;
            for (int64_t i = 0; i < h; ++i) row[i] *= factors[first + i];
          }
          found[to] = quantize_row(row.data(), h);
        } else if (!factors.empty()) {
          found[to] = factors[slot / k];
        }
        std::copy(row.begin(), row.end(), result.begin() + to * h);
      }
      const int64_t valid = padded ? expert_num * capacity : written;
      if (padded)
        frame.store(out, result);
      else
        frame.store_rows(out, result, valid);
      if (dynamic || !factors.empty())
        frame.store_rows(out_scale, found, valid);
      else
        frame.spoil(out_scale);
      if (row_index_type == 0) {
        frame.store_integers(index, position);
        frame.note(index, kRowOrder);
      } else {
        frame.spoil(index);
        frame.store_first_integers(index, source, written);
      }
      if (!count_flag) return frame.spoil(number);
      frame.store_integers(number, count_output(r, count));
      frame.note(number, count_type == kRunningSum ? kRunningSums : count_type == kCount ? kCounts : kPairs);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeInitRoutingV3)

}  // extern "C"
