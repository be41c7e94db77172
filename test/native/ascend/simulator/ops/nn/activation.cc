#include <algorithm>

#include "../../nnop/op.h"
#include "../activations.h"

namespace ascend_sim {
namespace {

void each(Op& op, const aclTensor* self, const aclTensor* out, double (*function)(double)) {
  const auto x = op.in("self", self, kFloats);
  const auto y = op.out("out", out, kFloats);
  op.same_type(y, x);
  op.nd(x);
  op.nd(y);
  op.shape(y, x->shape);
  op.allow_in_place();
  op.run([=](const Frame& frame) {
    auto values = frame.numbers(x);
    for (double& value : values) value = function(value);
    frame.store(y, values);
  });
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnSigmoidGetWorkspaceSize(const aclTensor* self, aclTensor* out, uint64_t* size,
                                         aclOpExecutor** executor) {
  return plan_op("aclnnSigmoid", size, executor, [&](Op& op) { each(op, self, out, sigmoid); });
}
ASCEND_SIM_PHASE_2(aclnnSigmoid)

aclnnStatus aclnnSiluGetWorkspaceSize(const aclTensor* self, aclTensor* out, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnSilu", size, executor, [&](Op& op) { each(op, self, out, silu); });
}
ASCEND_SIM_PHASE_2(aclnnSilu)

aclnnStatus aclnnReluGetWorkspaceSize(const aclTensor* self, aclTensor* out, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnRelu", size, executor, [&](Op& op) { each(op, self, out, relu); });
}
ASCEND_SIM_PHASE_2(aclnnRelu)

aclnnStatus aclnnGeluGetWorkspaceSize(const aclTensor* self, aclTensor* out, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnGelu", size, executor, [&](Op& op) { each(op, self, out, gelu_erf); });
}
ASCEND_SIM_PHASE_2(aclnnGelu)

aclnnStatus aclnnGeluV2GetWorkspaceSize(const aclTensor* x, int64_t approximate, aclTensor* y, uint64_t* size,
                                        aclOpExecutor** executor) {
  return plan_op("aclnnGeluV2", size, executor, [&](Op& op) {
    op.require(approximate == 0 || approximate == 1, "approximate must be 0 (erf) or 1 (tanh)");
    each(op, x, y, approximate == 0 ? gelu_erf : gelu_tanh);
  });
}
ASCEND_SIM_PHASE_2(aclnnGeluV2)

aclnnStatus aclnnSwiGluGetWorkspaceSize(const aclTensor* x, int64_t dim, const aclTensor* out, uint64_t* size,
                                        aclOpExecutor** executor) {
  return plan_op("aclnnSwiGlu", size, executor, [&](Op& op) {
    const auto in = op.in("x", x, kFloats);
    const auto y = op.out("out", out, kFloats);
    op.same_type(y, in);
    op.nd(in);
    op.nd(y);
    const int64_t at = dim < 0 ? dim + in->rank() : dim;
    op.require(at >= 0 && at < in->rank(), "there is no dimension " + std::to_string(dim));
    const int64_t width = in->shape[at];
    op.require(width % 2 == 0, "dimension " + std::to_string(dim) + " of x must be even, got " + std::to_string(width));
    Shape half = in->shape;
    half[at] = width / 2;
    op.shape(y, half);
    if (soc() == Soc::k310P) {
      op.not_empty(in);
      const auto bytes = static_cast<int64_t>(aclDataTypeSize(in->type));
      op.require(y->dim(-1) * bytes % 64 == 0, "on a 310P a row must be a multiple of 64 bytes");
    }
    int64_t inner = 1;
    for (int64_t axis = at + 1; axis < in->rank(); ++axis) inner *= in->shape[axis];
    op.workspace(512);
    op.run([=](const Frame& frame) {
      const auto values = frame.numbers(in);
      std::vector<double> result(y->size());
      const int64_t block = width / 2 * inner;
      for (size_t i = 0; i < result.size(); ++i) {
        const int64_t first = static_cast<int64_t>(i) / block * 2 * block + static_cast<int64_t>(i) % block;
        result[i] = silu(values[first]) * values[first + block];
      }
      frame.store(y, result);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnSwiGlu)

aclnnStatus aclnnSoftmaxGetWorkspaceSize(const aclTensor* self, int64_t dim, aclTensor* out, uint64_t* size,
                                         aclOpExecutor** executor) {
  return plan_op("aclnnSoftmax", size, executor, [&](Op& op) {
    const auto x = op.in("self", self, kFloats);
    const auto y = op.out("out", out, kFloats);
    op.same_type(y, x);
    op.shape(y, x->shape);
    op.require(dim == -1 || dim == x->rank() - 1, "only the last dimension is simulated");
    op.run([=](const Frame& frame) {
      auto values = frame.numbers(x);
      const int64_t width = x->dim(-1);
      for (size_t row = 0; row < values.size(); row += width) {
        double* const at = values.data() + row;
        const double top = *std::max_element(at, at + width);
        double sum = 0;
        for (int64_t i = 0; i < width; ++i) sum += at[i] = std::exp(at[i] - top);
        for (int64_t i = 0; i < width; ++i) at[i] /= sum;
      }
      frame.store(y, values);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnSoftmax)

}  // extern "C"
