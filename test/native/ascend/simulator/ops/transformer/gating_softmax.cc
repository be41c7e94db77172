// Softmax over the experts and the best k.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "../../nnop/op.h"

namespace ascend_sim {
namespace {

struct Gate {
  Argument x, finished, y, experts;
  int64_t rows, width, k;
};

Gate bind_gate(Op& op, const aclTensor* x, const aclTensor* finished, int64_t k, const aclTensor* y,
               const aclTensor* experts, Types types) {
  Gate gate;
  gate.x = op.in("x", x, types);
  gate.finished = op.optional_in("finished", finished, {kBool});
  gate.y = op.out("y", y, types);
  gate.experts = op.out("expertIdx", experts, {kInt32});
  gate.k = k;
  const Tensor& in = *gate.x.tensor;
  op.same_type(gate.y, gate.x);
  op.nd(gate.x);
  op.require(in.rank() == 2 || in.rank() == 3, "x must have 2 or 3 dimensions, got " + text(in.shape));
  op.not_empty(gate.x);
  gate.width = in.dim(-1);
  gate.rows = in.size() / gate.width;
  op.require(k >= 1 && k <= gate.width && k <= 1024,
             "k " + std::to_string(k) + " is not in [1, min(E, 1024)], E is " + std::to_string(gate.width));
  Shape chosen = in.shape;
  chosen.pop_back();
  op.shape(gate.finished, chosen);
  chosen.push_back(k);
  op.shape(gate.y, chosen);
  op.shape(gate.experts, chosen);
  return gate;
}

void softmax(double* values, int64_t width) {
  const double top = *std::max_element(values, values + width);
  double sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += values[i] = std::exp(values[i] - top);
  for (int64_t i = 0; i < width; ++i) values[i] /= sum;
}

// Which of two equal scores comes first is not documented; here it is the lower index.
std::vector<int64_t> best(const double* values, int64_t width, int64_t k) {
  std::vector<int64_t> order(width);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return values[a] > values[b]; });
  order.resize(k);
  return order;
}

// `renorm`: the softmax runs over the chosen only. Returns the softmax over all, empty with `renorm`.
std::vector<double> run_gate(const Frame& frame, const Gate& gate, bool renorm) {
  auto values = frame.numbers(gate.x);
  const auto finished = gate.finished.given() ? frame.integers(gate.finished) : std::vector<int64_t>(gate.rows, 0);
  std::vector<double> weights;
  std::vector<int64_t> experts;
  for (int64_t row = 0; row < gate.rows; ++row) {
    double* const at = values.data() + row * gate.width;
    if (!renorm) softmax(at, gate.width);
    const auto order = best(at, gate.width, gate.k);
    std::vector<double> chosen;
    for (const int64_t expert : order) chosen.push_back(at[expert]);
    if (renorm) softmax(chosen.data(), gate.k);
    weights.insert(weights.end(), chosen.begin(), chosen.end());
    for (const int64_t expert : order) experts.push_back(finished[row] ? gate.width : expert);
  }
  frame.store(gate.y, weights);
  frame.store_integers(gate.experts, experts);
  return renorm ? std::vector<double>() : values;
}

}  // namespace
}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnMoeGatingTopKSoftmaxGetWorkspaceSize(const aclTensor* x, const aclTensor* finished, int64_t k,
                                                      const aclTensor* y, const aclTensor* experts,
                                                      const aclTensor* rows, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnMoeGatingTopKSoftmax", size, executor, [&](Op& op) {
    const bool old = soc() == Soc::k310P;
    if (old) op.absent("finished", finished, "a 310P does not take it");
    const Gate gate = old ? bind_gate(op, x, finished, k, y, experts, {kFloat16})
                          : bind_gate(op, x, finished, k, y, experts, kFloats);
    const auto index = op.out("rowIdx", rows, {kInt32});
    op.shape(index, gate.experts->shape);
    if (old) {
      op.require(gate.width % 16 == 0 && gate.width <= 256, "on a 310P E must be a multiple of 16 up to 256");
      op.require(gate.rows <= 1024, "more than 1024 rows are routed wrong on a 310P: call it in pieces");
    }
    op.workspace(1024 + gate.rows * 4);
    op.run([=](const Frame& frame) {
      run_gate(frame, gate, false);
      std::vector<int64_t> order(gate.rows * gate.k, 0);
      for (int64_t i = 0; i < gate.rows && !old; ++i)
        for (int64_t j = 0; j < gate.k; ++j) order[i * gate.k + j] = j * gate.rows + i;  // column by column
      frame.store_integers(index, order);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeGatingTopKSoftmax)

aclnnStatus aclnnMoeGatingTopKSoftmaxV2GetWorkspaceSize(const aclTensor* x, const aclTensor* finished, int64_t k,
                                                        int64_t renorm, bool keep_softmax, const aclTensor* y,
                                                        const aclTensor* experts, const aclTensor* softmax_out,
                                                        uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnMoeGatingTopKSoftmaxV2", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2, Soc::kA3});
    const Gate gate = bind_gate(op, x, finished, k, y, experts, kFloats);
    op.require(renorm == 0 || renorm == 1, "renorm must be 0 or 1");
    const bool keep = keep_softmax && renorm == 0;
    require(!keep || softmax_out, kNullptr, "softmaxResult is null although it was asked for");
    const auto all = op.optional_out("softmaxResult", softmax_out, {kFloat});
    op.shape(all, gate.x->shape);
    op.workspace(1024 + gate.rows * 4);
    op.run([=](const Frame& frame) {
      const auto probabilities = run_gate(frame, gate, renorm == 1);
      if (keep)
        frame.store(all, probabilities);
      else if (all.given())
        frame.spoil(all);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeGatingTopKSoftmaxV2)

}  // extern "C"
