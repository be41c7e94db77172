// Selections and orderings.
#include <algorithm>
#include <numeric>

#include "../../nnop/op.h"

namespace ascend_sim {
namespace {

inline constexpr Types kAny = {kFloat, kFloat16, kBf16, kInt8, kInt32, kInt64};

struct Axis {
  int64_t outer, size, inner;  // element (o, i, n) lies at (o * size + i) * inner + n
};

Axis axis_of(const Op& op, const Tensor& tensor, int64_t dim) {
  const int64_t at = dim < 0 ? dim + tensor.rank() : dim;
  op.require(at >= 0 && at < tensor.rank(),
             "there is no dimension " + std::to_string(dim) + " in " + text(tensor.shape));
  Axis axis{1, tensor.shape[at], 1};
  for (int64_t i = 0; i < at; ++i) axis.outer *= tensor.shape[i];
  for (int64_t i = at + 1; i < tensor.rank(); ++i) axis.inner *= tensor.shape[i];
  return axis;
}

Shape replaced(const Tensor& tensor, int64_t dim, int64_t size) {
  Shape shape = tensor.shape;
  shape[dim < 0 ? dim + tensor.rank() : dim] = size;
  return shape;
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnIndexSelectGetWorkspaceSize(const aclTensor* self, int64_t dim, const aclTensor* index, aclTensor* out,
                                             uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnIndexSelect", size, executor, [&](Op& op) {
    const auto x = op.in("self", self, kAny);
    const auto chosen = op.in("index", index, kIndices);
    const auto y = op.out("out", out, kAny);
    op.same_type(y, x);
    op.nd(x);
    op.nd(y);
    const Axis axis = axis_of(op, *x.tensor, dim);
    op.require(chosen->rank() == 1, "index must have one dimension, got " + text(chosen->shape));
    op.shape(y, replaced(*x.tensor, dim, chosen->size()));
    op.run([=](const Frame& frame) {
      const auto values = frame.numbers(x);
      const auto rows = frame.integers(chosen);
      const auto count = static_cast<int64_t>(rows.size());
      std::vector<double> result(y->size());
      for (int64_t o = 0; o < axis.outer; ++o)
        for (int64_t i = 0; i < count; ++i) {
          frame.require(rows[i] >= 0 && rows[i] < axis.size,
                        "index " + std::to_string(rows[i]) + " is not in [0, " + std::to_string(axis.size) + ")");
          for (int64_t n = 0; n < axis.inner; ++n)
            result[(o * count + i) * axis.inner + n] = values[(o * axis.size + rows[i]) * axis.inner + n];
        }
      frame.store(y, result);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnIndexSelect)

aclnnStatus aclnnTopkGetWorkspaceSize(const aclTensor* self, int64_t k, int64_t dim, bool largest, bool,
                                      aclTensor* values, aclTensor* indices, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnTopk", size, executor, [&](Op& op) {
    const auto x = op.in("self", self, {kFloat, kFloat16, kBf16, kInt32, kInt64});
    const auto best = op.out("values", values, {kFloat, kFloat16, kBf16, kInt32, kInt64});
    const auto where = op.out("indices", indices, {kInt64});
    op.same_type(best, x);
    const Axis axis = axis_of(op, *x.tensor, dim);
    op.require(k >= 0 && k <= axis.size,
               "k " + std::to_string(k) + " is not in [0, " + std::to_string(axis.size) + "]");
    op.shape(best, replaced(*x.tensor, dim, k));
    op.shape(where, best->shape);
    op.workspace(512 + x->size() * 8);
    op.run([=](const Frame& frame) {
      const auto all = frame.numbers(x);
      std::vector<double> top(best->size());
      std::vector<int64_t> at(best->size());
      std::vector<int64_t> order(axis.size);
      for (int64_t o = 0; o < axis.outer; ++o)
        for (int64_t n = 0; n < axis.inner; ++n) {
          const auto value = [&](int64_t i) { return all[(o * axis.size + i) * axis.inner + n]; };
          std::iota(order.begin(), order.end(), 0);
          std::stable_sort(order.begin(), order.end(),
                           [&](int64_t a, int64_t b) { return largest ? value(a) > value(b) : value(a) < value(b); });
          for (int64_t i = 0; i < k; ++i) {
            top[(o * k + i) * axis.inner + n] = value(order[i]);
            at[(o * k + i) * axis.inner + n] = order[i];
          }
        }
      frame.store(best, top);
      frame.store_integers(where, at);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnTopk)

aclnnStatus aclnnPermuteGetWorkspaceSize(const aclTensor* self, const aclIntArray* dims, aclTensor* out, uint64_t* size,
                                         aclOpExecutor** executor) {
  return plan_op("aclnnPermute", size, executor, [&](Op& op) {
    const auto x = op.in("self", self, kAny);
    const auto y = op.out("out", out, kAny);
    op.same_type(y, x);
    const auto order = array_of(dims);
    op.require(order.size() == x->shape.size(), "dims must name every dimension of " + text(x->shape));
    Shape shape;
    std::vector<bool> named(order.size(), false);
    for (const int64_t axis : order) {
      op.require(axis >= 0 && axis < x->rank() && !named[axis], "dims is no permutation: " + text(order));
      named[axis] = true;
      shape.push_back(x->shape[axis]);
    }
    op.shape(y, shape);
    op.run([=](const Frame& frame) {
      const auto values = frame.numbers(x);
      std::vector<double> result(values.size());
      Shape steps(order.size(), 1);
      for (int64_t axis = x->rank() - 2; axis >= 0; --axis) steps[axis] = steps[axis + 1] * x->shape[axis + 1];
      for (size_t i = 0; i < result.size(); ++i) {
        auto rest = static_cast<int64_t>(i);
        int64_t from = 0;
        for (int64_t axis = y->rank() - 1; axis >= 0; --axis) {
          from += rest % shape[axis] * steps[order[axis]];
          rest /= shape[axis];
        }
        result[i] = values[from];
      }
      frame.store(y, result);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnPermute)

aclnnStatus aclnnCumsumGetWorkspaceSize(const aclTensor* self, int64_t dim, int type, aclTensor* out, uint64_t* size,
                                        aclOpExecutor** executor) {
  return plan_op("aclnnCumsum", size, executor, [&](Op& op) {
    const auto x = op.in("self", self, kAny);
    const auto y = op.out("out", out, kAny);
    require(type == y->type, kInvalid, "dtype says " + type_name(type) + ", out is " + type_name(y->type));
    op.shape(y, x->shape);
    const Axis axis = axis_of(op, *x.tensor, dim);
    op.run([=](const Frame& frame) {
      auto values = frame.numbers(x);
      for (int64_t o = 0; o < axis.outer; ++o)
        for (int64_t i = 1; i < axis.size; ++i)
          for (int64_t n = 0; n < axis.inner; ++n)
            values[(o * axis.size + i) * axis.inner + n] += values[(o * axis.size + i - 1) * axis.inner + n];
      frame.store(y, values);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnCumsum)

aclnnStatus aclnnHistcGetWorkspaceSize(const aclTensor* self, int64_t bins, const aclScalar* min, const aclScalar* max,
                                       aclTensor* out, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnHistc", size, executor, [&](Op& op) {
    const auto x = op.in("self", self, {kFloat, kFloat16, kInt32, kInt64});
    const auto y = op.out("out", out, {kFloat, kFloat16, kInt32, kInt64});
    op.same_type(y, x);
    op.require(bins > 0, "bins must be above 0");
    op.shape(y, {bins});
    const double low = scalar_of("min", min).value;
    const double high = scalar_of("max", max).value;
    op.require(low < high, "min must be below max");
    op.run([=](const Frame& frame) {
      std::vector<double> counts(bins, 0);
      for (const double value : frame.numbers(x))
        if (value >= low && value <= high)
          ++counts[std::min<int64_t>(bins - 1, static_cast<int64_t>((value - low) / (high - low) * bins))];
      frame.store(y, counts);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnHistc)

}  // extern "C"
