// Grouped matrix products with quantisation fused in.
#include <cstring>

#include "../activations.h"
#include "../group_list.h"
#include "../quantize_row.h"

namespace ascend_sim {
namespace {

struct SwigluQuant {
  const aclTensor *x, *weight, *bias, *offset, *weight_scale, *x_scale, *group_list;
  const aclTensor *output, *output_scale, *output_offset;
};

void describe(Op& op, const SwigluQuant& call) {
  op.only_on({Soc::kA2, Soc::kA3});
  const auto x = op.in("x", call.x, {kInt8});
  const auto w = op.in("weight", call.weight, {kInt8});
  op.absent("bias", call.bias, "it is reserved");
  op.absent("offset", call.offset, "it is reserved");
  const auto column_scale = op.in("weightScale", call.weight_scale, kFloats);
  const auto row_scale = op.in("xScale", call.x_scale, {kFloat});
  const auto list = op.in("groupList", call.group_list, {kInt64});
  const auto out = op.out("output", call.output, {kInt8});
  const auto out_scale = op.out("outputScale", call.output_scale, {kFloat});
  op.absent("outputOffset", call.output_offset, "it is reserved");
  op.require(x->rank() == 2 && w->rank() == 3 && w->dim(1) == x->dim(1),
             "x must be [M, K] and weight [E, K, N], got " + text(x->shape) + " and " + text(w->shape));
  op.require(w->format == kFractalNz, "weight must be FRACTAL_NZ");
  const int64_t m = x->dim(0);
  const int64_t k = x->dim(1);
  const int64_t experts = w->dim(0);
  const int64_t n = w->dim(2);
  op.require(n <= 10240 && n % 2 == 0 && k < 65536, "N must be even and at most 10240, K below 65536");
  op.shape(column_scale, {experts, n});
  op.shape(row_scale, {m});
  op.shape(list, {experts});
  op.shape(out, {m, n / 2});
  op.shape(out_scale, {m});
  op.workspace(16384);
  op.run([=](const Frame& frame) {
    const auto values = frame.numbers(x);
    const auto weights = frame.numbers(w);
    const auto columns = frame.numbers(column_scale);
    const auto rows = frame.numbers(row_scale);
    const auto groups = row_groups(frame, list, kGroupSums, experts, m);
    std::vector<double> result(m * n / 2, 0);
    std::vector<double> scales(m, 0);
    std::vector<double> product(n);
    for (const auto& [group, begin, end] : groups)
      for (int64_t r = begin; r < end; ++r) {
        std::fill(product.begin(), product.end(), 0);
        for (int64_t i = 0; i < k; ++i)
          for (int64_t o = 0; o < n; ++o) product[o] += values[r * k + i] * weights[(group * k + i) * n + o];
        for (int64_t o = 0; o < n; ++o) product[o] *= rows[r] * columns[group * n + o];
        for (int64_t o = 0; o < n / 2; ++o) result[r * n / 2 + o] = silu(product[o]) * product[n / 2 + o];
        scales[r] = quantize_row(result.data() + r * n / 2, n / 2);
      }
    const int64_t covered = groups.empty() ? 0 : groups.back().end;
    frame.store_rows(out, result, covered);
    frame.store_rows(out_scale, scales, covered);
  });
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnGroupedMatmulSwigluQuantGetWorkspaceSize(const aclTensor* x, const aclTensor* weight,
                                                          const aclTensor* bias, const aclTensor* offset,
                                                          const aclTensor* weight_scale, const aclTensor* x_scale,
                                                          const aclTensor* group_list, aclTensor* output,
                                                          aclTensor* output_scale, aclTensor* output_offset,
                                                          uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnGroupedMatmulSwigluQuant", size, executor, [&](Op& op) {
    describe(op, {x, weight, bias, offset, weight_scale, x_scale, group_list, output, output_scale, output_offset});
  });
}
ASCEND_SIM_PHASE_2(aclnnGroupedMatmulSwigluQuant)

aclnnStatus aclnnGroupedMatmulSwigluQuantWeightNZGetWorkspaceSize(
    const aclTensor* x, const aclTensor* weight, const aclTensor* bias, const aclTensor* offset,
    const aclTensor* weight_scale, const aclTensor* x_scale, const aclTensor* group_list, aclTensor* output,
    aclTensor* output_scale, aclTensor* output_offset, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnGroupedMatmulSwigluQuantWeightNZ", size, executor, [&](Op& op) {
    describe(op, {x, weight, bias, offset, weight_scale, x_scale, group_list, output, output_scale, output_offset});
  });
}
ASCEND_SIM_PHASE_2(aclnnGroupedMatmulSwigluQuantWeightNZ)

aclnnStatus aclnnQuantGroupedMatmulDequantGetWorkspaceSize(
    const aclTensor* x, const aclTensor* weight, const aclTensor* weight_scale, const aclTensor* group_list,
    const aclTensor* bias, const aclTensor* x_scale, const aclTensor* x_offset, const aclTensor* smooth,
    char* x_quant_mode, bool transpose_weight, const aclTensor* out, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnQuantGroupedMatmulDequant", size, executor, [&](Op& op) {
    op.only_on({Soc::k310P});
    const auto in = op.in("x", x, {kFloat16});
    const auto w = op.in("weight", weight, {kInt8});
    const auto column_scale = op.in("weightScale", weight_scale, {kFloat});
    const auto list = op.in("groupList", group_list, {kInt64});
    const auto y = op.out("out", out, {kFloat16});
    for (const void* argument : {bias, x_scale, x_offset, smooth})
      op.absent("bias, xScale, xOffset or smoothScale", argument, "it is not simulated");
    require(x_quant_mode && std::strcmp(x_quant_mode, "pertoken") == 0, kInvalid,
            "only xQuantMode pertoken is simulated");
    op.require(transpose_weight, "transposeWeight must be true: weight is [E, N, K]");
    op.require(in->rank() == 2 && w->rank() == 3 && w->dim(2) == in->dim(1),
               "x must be [M, K] and weight [E, N, K], got " + text(in->shape) + " and " + text(w->shape));
    const int64_t m = in->dim(0);
    const int64_t k = in->dim(1);
    const int64_t experts = w->dim(0);
    const int64_t n = w->dim(1);
    op.require(n % 16 == 0 && k % 16 == 0, "N and K must be multiples of 16");
    op.shape(column_scale, {experts, n});
    op.shape(list, {experts});
    op.shape(y, {m, n});
    op.workspace(16384 + m * k);
    op.run([=](const Frame& frame) {
      auto values = frame.numbers(in);
      const auto weights = frame.numbers(w);
      const auto columns = frame.numbers(column_scale);
      const auto groups = row_groups(frame, list, kGroupSums, experts, m);
      std::vector<double> result(m * n, 0);
      for (const auto& [group, begin, end] : groups)
        for (int64_t r = begin; r < end; ++r) {
          const double scale = quantize_row(values.data() + r * k, k);
          for (int64_t o = 0; o < n; ++o) {
            double sum = 0;
            for (int64_t i = 0; i < k; ++i) sum += values[r * k + i] * weights[(group * n + o) * k + i];
            result[r * n + o] = sum * scale * columns[group * n + o];
          }
        }
      frame.store_rows(y, result, groups.empty() ? 0 : groups.back().end);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnQuantGroupedMatmulDequant)

}  // extern "C"
