// Rows of experts back to their tokens.
#include <numeric>

#include "../../nnop/op.h"
#include "../sorted_slots.h"

namespace ascend_sim {
namespace {

struct Combine {
  Argument rows, index, x1, x2, bias, scales, experts, out;
  int64_t n, k, h;
  bool by_column;  // the index is numbered choice * N + token, not token * k + choice
  bool may_be_dropped;
};

void run_combine(const Frame& frame, const Combine& c) {
  const std::string order = frame.noted(c.index);
  frame.require(
      order.empty() || c.n == 1 || c.k == 1 || order == (c.by_column ? kColumnOrder : kRowOrder),
      "the row index was written in " + order + " and is read in " + (c.by_column ? kColumnOrder : kRowOrder));
  const auto rows = frame.numbers(c.rows);
  const auto index = frame.integers(c.index);
  const auto optional = [&](const Argument& argument) {
    return argument.given() ? frame.numbers(argument) : std::vector<double>();
  };
  const auto x1 = optional(c.x1);
  const auto x2 = optional(c.x2);
  const auto bias = optional(c.bias);
  const auto scales = optional(c.scales);
  const auto experts = c.experts.given() ? frame.integers(c.experts) : std::vector<int64_t>();
  const int64_t available = c.rows->size() / c.h;
  std::vector<double> result(c.n * c.h, 0);
  for (int64_t i = 0; i < c.n; ++i)
    for (int64_t j = 0; j < c.k; ++j) {
      const int64_t row = index[c.by_column ? i + j * c.n : i * c.k + j];
      const int64_t slot = i * c.k + j;
      if (row == -1 && c.may_be_dropped) continue;
      frame.require(row >= 0 && row < available,
                    "expandedRowIdx " + std::to_string(row) + " is not in [0, " + std::to_string(available) + ")");
      if (!bias.empty())
        frame.require(experts[slot] >= 0 && experts[slot] < c.bias->dim(0),
                      "expertIdx " + std::to_string(experts[slot]) + " has no row in bias");
      for (int64_t d = 0; d < c.h; ++d)
        result[i * c.h + d] += (scales.empty() ? 1 : scales[slot]) *
                               (rows[row * c.h + d] + (bias.empty() ? 0 : bias[experts[slot] * c.h + d]));
    }
  for (size_t i = 0; i < result.size(); ++i) result[i] += (x1.empty() ? 0 : x1[i]) + (x2.empty() ? 0 : x2[i]);
  frame.store(c.out, result);
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnMoeFinalizeRoutingGetWorkspaceSize(const aclTensor* expanded, const aclTensor* x1, const aclTensor* x2,
                                                    const aclTensor* bias, const aclTensor* scales,
                                                    const aclTensor* row_index, const aclTensor* experts,
                                                    const aclTensor* out, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnMoeFinalizeRouting", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2, Soc::kA3});
    Combine c;
    c.rows = op.in("expandedX", expanded, kFloats);
    c.x1 = op.in("x1", x1, kFloats);
    c.x2 = op.optional_in("x2", x2, kFloats);
    c.bias = op.in("bias", bias, kFloats);
    c.scales = op.in("scales", scales, kFloats);
    c.index = op.in("expandedRowIdx", row_index, {kInt32});
    c.experts = op.in("expandedExpertIdx", experts, {kInt32});
    c.out = op.out("out", out, kFloats);
    for (const auto& argument : {c.x1, c.x2, c.bias, c.scales, c.out}) op.same_type(argument, c.rows);
    op.require(c.out->rank() == 2 && c.scales->rank() == 2, "out must be [N, H], scales [N, k]");
    c.n = c.out->dim(0);
    c.h = c.out->dim(1);
    c.k = c.scales->dim(1);
    op.not_empty(c.rows);
    op.shape(c.rows, {c.n * c.k, c.h});
    op.shape(c.x1, {c.n, c.h});
    op.shape(c.x2, {c.n, c.h});
    op.shape(c.scales, {c.n, c.k});
    op.shape(c.index, {c.n * c.k});
    op.shape(c.experts, {c.n, c.k});
    op.require(c.bias->rank() == 2 && c.bias->dim(1) == c.h, "bias must be [E, H]");
    c.by_column = true;
    c.may_be_dropped = false;
    op.workspace(1024);
    op.run([c](const Frame& frame) { run_combine(frame, c); });
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeFinalizeRouting)

aclnnStatus aclnnMoeFinalizeRoutingV2GetWorkspaceSize(const aclTensor* expanded, const aclTensor* row_index,
                                                      const aclTensor* x1, const aclTensor* x2, const aclTensor* bias,
                                                      const aclTensor* scales, const aclTensor* experts,
                                                      int64_t drop_pad_mode, const aclTensor* out, uint64_t* size,
                                                      aclOpExecutor** executor) {
  return plan_op("aclnnMoeFinalizeRoutingV2", size, executor, [&](Op& op) {
    const bool old = soc() == Soc::k310P;
    if (old) {
      for (const void* argument : {x1, x2, bias, experts})
        op.absent("x1, x2, bias or expertIdx", argument, "a 310P takes none of them");
      op.require(drop_pad_mode == 2, "on a 310P dropPadMode must be 2");
    }
    op.require(drop_pad_mode >= 0 && drop_pad_mode <= 3, "dropPadMode must be 0, 1, 2 or 3");
    Combine c;
    c.rows = op.in("expandedX", expanded, kFloats);
    c.index = op.in("expandedRowIdx", row_index, {kInt32});
    c.x1 = op.optional_in("x1", x1, kFloats);
    c.x2 = op.optional_in("x2", x2, kFloats);
    c.bias = op.optional_in("bias", bias, kFloats);
    c.scales = op.optional_in("scales", scales, kFloats);
    c.experts = op.optional_in("expertIdx", experts, {kInt32});
    c.out = op.out("out", out, kFloats);
    for (const auto& argument : {c.x1, c.x2, c.bias, c.out}) op.same_type(argument, c.rows);
    if (c.scales.given() && !(c.rows->type == kBf16 && c.scales->type == kFloat)) op.same_type(c.scales, c.rows);
    op.require(!c.x2.given() || c.x1.given(), "x2 needs x1");
    op.require(!c.bias.given() || c.experts.given(), "bias needs expertIdx");
    op.require(c.out->rank() == 2, "out must be [N, H], got " + text(c.out->shape));
    c.n = c.out->dim(0);
    c.h = c.out->dim(1);
    c.k = c.scales.given() ? c.scales->dim(1) : 1;
    for (const auto& argument : {c.rows, c.out, c.index}) op.not_empty(argument);
    if (old) op.require(c.h % 32 == 0, "on a 310P H must be a multiple of 32");
    const bool padded = drop_pad_mode % 2 == 1;
    if (padded)
      op.require(c.rows->rank() == 3 && c.rows->dim(2) == c.h,
                 "expandedX must be [E, C, H], got " + text(c.rows->shape));
    else
      op.shape(c.rows, {c.n * c.k, c.h});
    op.shape(c.index, {c.n * c.k});
    op.shape(c.scales, {c.n, c.k});
    op.shape(c.experts, {c.n, c.k});
    op.shape(c.x1, {c.n, c.h});
    op.shape(c.x2, {c.n, c.h});
    if (c.bias.given()) op.require(c.bias->rank() == 2 && c.bias->dim(1) == c.h, "bias must be [E, H]");
    c.by_column = drop_pad_mode < 2;
    c.may_be_dropped = padded;
    op.workspace(1024);
    op.run([c](const Frame& frame) { run_combine(frame, c); });
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeFinalizeRoutingV2)

aclnnStatus aclnnMoeTokenPermuteGetWorkspaceSize(const aclTensor* tokens, const aclTensor* indices, int64_t out_tokens,
                                                 bool padded, const aclTensor* permuted,
                                                 const aclTensor* sorted_indices, uint64_t* size,
                                                 aclOpExecutor** executor) {
  return plan_op("aclnnMoeTokenPermute", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2, Soc::kA3});
    const auto x = op.in("tokens", tokens, kFloats);
    const auto ids = op.in("indices", indices, kIndices);
    const auto out = op.out("permuteTokens", permuted, kFloats);
    const auto index = op.out("sortedIndices", sorted_indices, {kInt32});
    op.same_type(out, x);
    op.require(!padded, "paddedMode must be false");
    op.require(x->rank() == 2 && (ids->rank() == 1 || ids->rank() == 2) && ids->dim(0) == x->dim(0),
               "tokens must be [N, H], indices [N] or [N, k]");
    const int64_t k = ids->rank() == 1 ? 1 : ids->dim(1);
    const int64_t slots = x->dim(0) * k;
    op.require(out_tokens >= 0 && out_tokens <= slots, "numOutTokens must be in [0, N * k]");
    const int64_t rows = out_tokens == 0 ? slots : out_tokens;
    op.shape(out, {rows, x->dim(1)});
    op.shape(index, {slots});
    op.workspace(1024 + slots * 16);
    op.run([=](const Frame& frame) {
      const auto order = sorted_slots(frame.integers(ids));
      std::vector<int64_t> position(slots);
      std::vector<int64_t> from;
      for (int64_t r = 0; r < slots; ++r) {
        position[order[r]] = r;
        if (r < rows) from.push_back(order[r] / k);
      }
      frame.store(out, taken_rows(frame.numbers(x), x->dim(1), from));
      frame.store_integers(index, position);
      frame.note(index, kRowOrder);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeTokenPermute)

aclnnStatus aclnnMoeTokenUnpermuteGetWorkspaceSize(const aclTensor* permuted, const aclTensor* sorted_indices,
                                                   const aclTensor* probs, bool padded,
                                                   const aclIntArray* restore_shape, const aclTensor* out,
                                                   uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnMoeTokenUnpermute", size, executor, [&](Op& op) {
    op.absent("restoreShape", restore_shape, "it belongs to paddedMode");
    op.require(!padded, "paddedMode must be false");
    Combine c;
    c.rows = op.in("permutedTokens", permuted, kFloats);
    c.index = op.in("sortedIndices", sorted_indices, {kInt32});
    c.scales = op.optional_in("probs", probs, kFloats);
    c.out = op.out("out", out, kFloats);
    op.same_type(c.scales, c.rows);
    op.same_type(c.out, c.rows);
    op.require(c.out->rank() == 2 && c.rows->rank() == 2, "permutedTokens and out must be matrices");
    c.n = c.out->dim(0);
    c.h = c.out->dim(1);
    c.k = c.scales.given() ? c.scales->dim(1) : 1;
    op.require(c.k <= 512, "top-k must be at most 512");
    op.require(c.rows->dim(1) == c.h, "permutedTokens must be [*, H]");
    op.shape(c.scales, {c.n, c.k});
    op.shape(c.index, {c.n * c.k});
    if (soc() == Soc::k310P)
      op.require(c.h % 128 == 0 && c.h < 10240, "on a 310P H must be a multiple of 128 below 10240");
    c.by_column = false;
    c.may_be_dropped = false;
    op.workspace(1024);
    op.run([c](const Frame& frame) { run_combine(frame, c); });
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeTokenUnpermute)

}  // extern "C"
