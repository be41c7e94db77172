// Activations to int8, row by row.
#include <cstring>

#include "../../nnop/op.h"
#include "../activations.h"
#include "../quantize_row.h"

namespace ascend_sim {
namespace {

Shape rows_of(const Tensor& tensor) { return {tensor.shape.begin(), tensor.shape.end() - 1}; }

// Of row r: the group it belongs to, by counts; one past the last where it belongs to none.
std::vector<int64_t> groups_by_count(const Frame& frame, const std::vector<int64_t>& counts, int64_t rows) {
  std::vector<int64_t> groups;
  for (size_t group = 0; group < counts.size(); ++group) {
    frame.require(counts[group] >= 0, "groupIndex has a negative count");
    groups.insert(groups.end(), counts[group], static_cast<int64_t>(group));
    frame.require(static_cast<int64_t>(groups.size()) <= rows,
                  "groupIndex counts more rows than x has: it takes counts, not running sums");
  }
  return groups;
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnDynamicQuantGetWorkspaceSize(const aclTensor* x, const aclTensor* smooth, const aclTensor* y,
                                              const aclTensor* scale, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnDynamicQuant", size, executor, [&](Op& op) {
    const bool old = soc() == Soc::k310P;
    const auto in = old ? op.in("x", x, {kFloat16}) : op.in("x", x, {kFloat16, kBf16});
    const auto factors = op.optional_in("smoothScales", smooth, {kFloat16, kBf16});
    const auto out = op.out("y", y, {kInt8});
    const auto scales = op.out("scale", scale, {kFloat});
    op.same_type(factors, in);
    op.nd(in);
    op.require(in->rank() >= 2, "x must have 2 or more dimensions, got " + text(in->shape));
    op.shape(out, in->shape);
    op.shape(scales, rows_of(*in.tensor));
    op.shape(factors, {in->dim(-1)});
    op.workspace(512);
    op.run([=](const Frame& frame) {
      auto values = frame.numbers(in);
      const int64_t width = in->dim(-1);
      const auto smoothing = factors.given() && !old ? frame.numbers(factors) : std::vector<double>(width, 1);
      std::vector<double> found;
      for (size_t at = 0; at < values.size(); at += width) {
        for (int64_t i = 0; i < width; ++i) values[at + i] *= smoothing[i];
        found.push_back(quantize_row(values.data() + at, width));
      }
      frame.store(out, values);
      frame.store(scales, found);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnDynamicQuant)

aclnnStatus aclnnDequantSwigluQuantGetWorkspaceSize(const aclTensor* x, const aclTensor* weight_scale,
                                                    const aclTensor* activation_scale, const aclTensor* bias,
                                                    const aclTensor* quant_scale, const aclTensor* quant_offset,
                                                    const aclTensor* group_index, bool activate_left, char* quant_mode,
                                                    const aclTensor* y, const aclTensor* scale, uint64_t* size,
                                                    aclOpExecutor** executor) {
  return plan_op("aclnnDequantSwigluQuant", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2});
    const auto in = op.in("x", x, {kInt32});
    const auto weights = op.in("weightScale", weight_scale, {kFloat});
    const auto rows = op.in("activationScale", activation_scale, {kFloat});
    const auto smoothing = op.optional_in("quantScale", quant_scale, {kFloat});
    const auto groups = op.optional_in("groupIndex", group_index, {kInt64});
    const auto out = op.out("y", y, {kInt8});
    const auto scales = op.out("scaleOut", scale, {kFloat});
    op.absent("bias", bias, "it is not simulated");
    op.absent("quantOffset", quant_offset, "it is not simulated");
    require(quant_mode && std::strcmp(quant_mode, "dynamic") == 0, kInvalid, "only quantMode dynamic is simulated");
    op.require(in->rank() == 2 && in->dim(1) % 2 == 0, "x must be [M, 2 I], got " + text(in->shape));
    const int64_t m = in->dim(0);
    const int64_t width = in->dim(1) / 2;
    const int64_t experts = groups.given() ? groups->size() : 1;
    op.require(weights->size() == experts * 2 * width, "weightScale must be [E, 2 I], got " + text(weights->shape));
    op.require(rows->size() == m, "activationScale must have a value per row");
    op.shape(smoothing, {experts, width});
    op.shape(out, {m, width});
    op.shape(scales, {m});
    op.workspace(1024);
    op.run([=](const Frame& frame) {
      const auto values = frame.numbers(in);
      const auto by_column = frame.numbers(weights);
      const auto by_row = frame.numbers(rows);
      const auto factors = smoothing.given() ? frame.numbers(smoothing) : std::vector<double>(experts * width, 1);
      const auto group_of =
          groups.given() ? groups_by_count(frame, frame.integers(groups), m) : std::vector<int64_t>(m, 0);
      std::vector<double> result(m * width, 0);
      std::vector<double> found(m, 0);
      for (size_t r = 0; r < group_of.size(); ++r) {
        const int64_t e = group_of[r];
        const auto value = [&](int64_t column) {
          return values[r * 2 * width + column] * by_column[e * 2 * width + column] * by_row[r];
        };
        for (int64_t i = 0; i < width; ++i) {
          const double left = value(i);
          const double right = value(width + i);
          result[r * width + i] = (activate_left ? silu(left) * right : silu(right) * left) * factors[e * width + i];
        }
        found[r] = quantize_row(result.data() + r * width, width);
      }
      frame.store_rows(out, result, static_cast<int64_t>(group_of.size()));
      frame.store_rows(scales, found, static_cast<int64_t>(group_of.size()));
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnDequantSwigluQuant)

aclnnStatus aclnnSwiGluQuantGetWorkspaceSize(const aclTensor* x, const aclTensor* smooth, const aclTensor* offsets,
                                             const aclTensor* group_index, bool activate_left, char* quant_mode,
                                             const aclTensor* y, const aclTensor* scale, uint64_t* size,
                                             aclOpExecutor** executor) {
  return plan_op("aclnnSwiGluQuant", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2, Soc::kA3});
    const auto in = op.in("x", x, kFloats);
    const auto out = op.out("y", y, {kInt8});
    const auto scales = op.out("scaleOut", scale, {kFloat});
    op.absent("smoothScales", smooth, "it is not simulated");
    op.absent("offsets", offsets, "the quantisation is symmetric");
    op.absent("groupIndex", group_index, "it is not simulated");
    require(quant_mode && std::strcmp(quant_mode, "dynamic") == 0, kInvalid, "only quantMode dynamic is simulated");
    op.require(in->rank() == 2 && in->dim(1) % 2 == 0, "x must be [M, 2 I], got " + text(in->shape));
    const int64_t m = in->dim(0);
    const int64_t width = in->dim(1) / 2;
    op.shape(out, {m, width});
    op.shape(scales, {m});
    op.run([=](const Frame& frame) {
      const auto values = frame.numbers(in);
      std::vector<double> result(m * width);
      std::vector<double> found(m);
      for (int64_t r = 0; r < m; ++r) {
        for (int64_t i = 0; i < width; ++i) {
          const double left = values[r * 2 * width + i];
          const double right = values[r * 2 * width + width + i];
          result[r * width + i] = activate_left ? silu(left) * right : silu(right) * left;
        }
        found[r] = quantize_row(result.data() + r * width, width);
      }
      frame.store(out, result);
      frame.store(scales, found);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnSwiGluQuant)

}  // extern "C"
