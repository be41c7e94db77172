// Sums, products, limits and conversions, element by element.
#include <algorithm>
#include <cmath>

#include "../../nnop/op.h"

namespace ascend_sim {
namespace {

inline constexpr Types kNumbers = {kFloat, kFloat16, kBf16, kInt32, kInt64};

// The shape both broadcast to, right-aligned.
Shape broadcast(const Op& op, const Shape& a, const Shape& b) {
  Shape shape(std::max(a.size(), b.size()), 1);
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t left = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t right = i < b.size() ? b[b.size() - 1 - i] : 1;
    op.require(left == right || left == 1 || right == 1, text(a) + " and " + text(b) + " do not broadcast");
    shape[shape.size() - 1 - i] = left == 1 ? right : left;
  }
  return shape;
}

// Where element `flat` of `shape` lies in an operand that is broadcast to it.
int64_t operand_index(int64_t flat, const Shape& shape, const Shape& operand) {
  int64_t index = 0;
  int64_t step = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t at = flat % shape[shape.size() - 1 - i];
    flat /= shape[shape.size() - 1 - i];
    if (i >= operand.size()) continue;
    const int64_t size = operand[operand.size() - 1 - i];
    if (size != 1) index += at * step;
    step *= size;
  }
  return index;
}

using Binary = double (*)(double, double, double);

void pair_op(Op& op, const aclTensor* self, const aclTensor* other, double alpha, const aclTensor* out,
             Binary function) {
  const auto a = op.in("self", self, kNumbers);
  const auto b = op.in("other", other, kNumbers);
  const auto y = op.out("out", out, kNumbers);
  op.same_type(b, a);
  op.same_type(y, a);
  for (const auto& argument : {a, b, y}) op.nd(argument);
  const Shape shape = broadcast(op, a->shape, b->shape);
  op.shape(y, shape);
  op.allow_in_place();
  op.run([=](const Frame& frame) {
    const auto left = frame.numbers(a);
    const auto right = frame.numbers(b);
    std::vector<double> result(product(shape));
    for (size_t i = 0; i < result.size(); ++i)
      result[i] = function(left[operand_index(i, shape, a->shape)], right[operand_index(i, shape, b->shape)], alpha);
    frame.store(y, result);
  });
}

template <class Function>
void unary(Op& op, const aclTensor* self, const aclTensor* out, Types types, Function function) {
  const auto x = op.in("self", self, types);
  const auto y = op.out("out", out, types);
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

aclnnStatus aclnnAddGetWorkspaceSize(const aclTensor* self, const aclTensor* other, const aclScalar* alpha,
                                     aclTensor* out, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnAdd", size, executor, [&](Op& op) {
    pair_op(op, self, other, scalar_of("alpha", alpha).value, out,
            [](double a, double b, double factor) { return a + factor * b; });
  });
}
ASCEND_SIM_PHASE_2(aclnnAdd)

aclnnStatus aclnnAddsGetWorkspaceSize(const aclTensor* self, const aclScalar* other, const aclScalar* alpha,
                                      aclTensor* out, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnAdds", size, executor, [&](Op& op) {
    const double added = scalar_of("alpha", alpha).value * scalar_of("other", other).value;
    unary(op, self, out, kNumbers, [added](double value) { return value + added; });
  });
}
ASCEND_SIM_PHASE_2(aclnnAdds)

aclnnStatus aclnnMulGetWorkspaceSize(const aclTensor* self, const aclTensor* other, aclTensor* out, uint64_t* size,
                                     aclOpExecutor** executor) {
  return plan_op("aclnnMul", size, executor,
                 [&](Op& op) { pair_op(op, self, other, 1, out, [](double a, double b, double) { return a * b; }); });
}
ASCEND_SIM_PHASE_2(aclnnMul)

aclnnStatus aclnnMulsGetWorkspaceSize(const aclTensor* self, const aclScalar* other, aclTensor* out, uint64_t* size,
                                      aclOpExecutor** executor) {
  return plan_op("aclnnMuls", size, executor, [&](Op& op) {
    const double factor = scalar_of("other", other).value;
    unary(op, self, out, kNumbers, [factor](double value) { return value * factor; });
  });
}
ASCEND_SIM_PHASE_2(aclnnMuls)

aclnnStatus aclnnClampGetWorkspaceSize(const aclTensor* self, const aclScalar* min, const aclScalar* max,
                                       aclTensor* out, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnClamp", size, executor, [&](Op& op) {
    op.require(min || max, "a limit must be given");
    const double low = min ? scalar_of("min", min).value : -HUGE_VAL;
    const double high = max ? scalar_of("max", max).value : HUGE_VAL;
    unary(op, self, out, kNumbers,
          [low, high](double value) { return std::isnan(value) ? value : std::min(std::max(value, low), high); });
  });
}
ASCEND_SIM_PHASE_2(aclnnClamp)

aclnnStatus aclnnCastGetWorkspaceSize(const aclTensor* self, int type, aclTensor* out, uint64_t* size,
                                      aclOpExecutor** executor) {
  return plan_op("aclnnCast", size, executor, [&](Op& op) {
    const Types types = {kFloat, kFloat16, kBf16, kInt8, kInt32, kInt64, kUint8, kBool};
    const auto x = op.in("self", self, types);
    const auto y = op.out("out", out, types);
    require(type == y->type, kInvalid, "dtype says " + type_name(type) + ", out is " + type_name(y->type));
    op.shape(y, x->shape);
    op.nd(x);
    op.nd(y);
    op.run([=](const Frame& frame) {
      const bool whole = x->type == kInt64 || x->type == kInt32;
      if (whole && (y->type == kInt64 || y->type == kInt32)) {
        frame.store_integers(y, frame.integers(x));
        return frame.note(y, frame.noted(x));
      }
      auto values = frame.numbers(x);
      if (y->type == kInt32 || y->type == kInt64 || y->type == kInt8)
        for (double& value : values) value = std::trunc(value);
      frame.store(y, values);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnCast)

}  // extern "C"
