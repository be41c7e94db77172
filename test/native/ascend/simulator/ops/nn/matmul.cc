// Matrix products.
#include <cmath>

#include "../../nnop/op.h"

namespace ascend_sim {
namespace {

// What the matrix unit makes of a float32 input.
double reduced(double value, int type, int8_t cube_math) {
  if (type != kFloat) return value;
  if (soc() == Soc::k310P || cube_math == kUseFp16) return rounded(value, kFloat16);
  if (cube_math == kAllowDownPrecision || cube_math == kUseHf32) {  // HF32: 11 bits of mantissa
    if (value == 0 || !std::isfinite(value)) return value;
    const double step = std::ldexp(1.0, std::ilogb(value) - 11);
    return std::nearbyint(value / step) * step;
  }
  return value;
}

void product_of(Op& op, const aclTensor* self, const aclTensor* other, const aclTensor* out, int8_t cube_math,
                int64_t rank) {
  const auto a = op.in("self", self, kFloats);
  const auto b = op.in("mat2", other, kFloats);
  const auto y = op.out("out", out, kFloats);
  op.same_type(b, a);
  op.same_type(y, a);
  op.require(cube_math >= kKeepDtype && cube_math <= kUseFp32Add,
             "there is no cubeMathType " + std::to_string(cube_math));
  if (soc() == Soc::k310P) {
    op.require(cube_math != kUseHf32, "a 310P has no HF32");
    op.require(a->type != kFloat || cube_math != kKeepDtype,
               "a 310P cannot multiply float32 as it is (cubeMathType 0)");
  }
  op.require(a->rank() == rank && b->rank() == rank, "self and mat2 must have " + std::to_string(rank) +
                                                         " dimensions, got " + text(a->shape) + " and " +
                                                         text(b->shape));
  for (const auto& matrix : {a, b})
    op.require(matrix->format == kFractalNz || matrix->contiguous() || matrix->transposed() || rank == 2,
               "a matrix may be transposed by its strides, not more");
  op.nd(a);
  op.nd(y);
  const int64_t batch = rank == 3 ? a->dim(0) : 1;
  const int64_t m = a->dim(-2);
  const int64_t k = a->dim(-1);
  const int64_t n = b->dim(-1);
  op.require(b->dim(-2) == k && (rank == 2 || b->dim(0) == batch),
             text(a->shape) + " and " + text(b->shape) + " do not multiply");
  op.shape(y, rank == 3 ? Shape{batch, m, n} : Shape{m, n});
  op.workspace(1024 + 32 * ((m + 15) / 16));
  op.run([=](const Frame& frame) {
    auto left = frame.numbers(a);
    auto right = frame.numbers(b);
    for (double& value : left) value = reduced(value, a->type, cube_math);
    for (double& value : right) value = reduced(value, a->type, cube_math);
    std::vector<double> result(batch * m * n, 0);
    for (int64_t e = 0; e < batch; ++e)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < k; ++j)
          for (int64_t o = 0; o < n; ++o)
            result[(e * m + i) * n + o] += left[(e * m + i) * k + j] * right[(e * k + j) * n + o];
    frame.store(y, result);
  });
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnMatmulGetWorkspaceSize(const aclTensor* self, const aclTensor* other, aclTensor* out, int8_t cube_math,
                                        uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnMatmul", size, executor, [&](Op& op) { product_of(op, self, other, out, cube_math, 2); });
}
ASCEND_SIM_PHASE_2(aclnnMatmul)

aclnnStatus aclnnMmGetWorkspaceSize(const aclTensor* self, const aclTensor* other, aclTensor* out, int8_t cube_math,
                                    uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnMm", size, executor, [&](Op& op) { product_of(op, self, other, out, cube_math, 2); });
}
ASCEND_SIM_PHASE_2(aclnnMm)

aclnnStatus aclnnBatchMatMulGetWorkspaceSize(const aclTensor* self, const aclTensor* other, aclTensor* out,
                                             int8_t cube_math, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnBatchMatMul", size, executor, [&](Op& op) { product_of(op, self, other, out, cube_math, 3); });
}
ASCEND_SIM_PHASE_2(aclnnBatchMatMul)

}  // extern "C"
