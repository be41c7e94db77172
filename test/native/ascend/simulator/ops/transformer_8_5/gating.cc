// Scores, optional groups of experts, and the best k.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "../../nnop/op.h"
#include "../../nnop/release.h"
#include "../activations.h"

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnMoeGatingTopKGetWorkspaceSize(const aclTensor* x, const aclTensor* bias, int64_t k,
                                               int64_t groups_kept, int64_t groups, int64_t group_select_mode,
                                               int64_t renorm, int64_t norm_type, bool keep_norm, double scaling_factor,
                                               double eps, const aclTensor* y, const aclTensor* experts,
                                               const aclTensor* norm, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnMoeGatingTopK", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2, Soc::kA3});
    const auto in = op.in("x", x, kFloats);
    const auto added = op.optional_in("bias", bias, kFloats);
    const auto weights = op.out("y", y, kFloats);
    const auto chosen = op.out("expertIdx", experts, {kInt32});
    const auto all = op.out("out", norm, {kFloat});
    op.same_type(added, in);
    op.same_type(weights, in);
    op.nd(in);
    op.require(in->rank() == 2, "x must be [tokens, E], got " + text(in->shape));
    op.not_empty(in);
    const int64_t tokens = in->dim(0);
    const int64_t width = in->dim(1);
    op.shape(added, {width});
    op.shape(weights, {tokens, k});
    op.shape(chosen, {tokens, k});
    op.shape(all, {tokens, width});
    op.require(width <= 2048, "E must be at most 2048, got " + std::to_string(width));
    op.require(groups >= 1 && width % groups == 0, "groupCount " + std::to_string(groups) + " must divide E");
    op.require(groups_kept >= 1 && groups_kept <= groups, "kGroup must be in [1, groupCount]");
    const int64_t group = width / groups;
    op.require(group_select_mode == 0 || group_select_mode == 1, "groupSelectMode must be 0 or 1");
    op.require(group > (release() < 91 ? 2 : group_select_mode),
               "a group of " + std::to_string(group) + " experts is too small");
    op.require((group + 31) / 32 * 32 * groups <= 2048, "the groups, padded to 32 experts, are more than 2048");
    op.require(k >= 1 && k <= group * groups_kept, "k must be in [1, E / groupCount * kGroup]");
    op.require(norm_type == 0 || norm_type == 1, "normType must be 0 (softmax) or 1 (sigmoid) here");
    op.require(renorm == 0 || (renorm == 1 && release() >= 91), "renorm must be 0 in this release");
    op.workspace(1024 + tokens * 8);
    op.run([=](const Frame& frame) {
      auto scores = frame.numbers(in);
      const auto offsets = added.given() ? frame.numbers(added) : std::vector<double>(width, 0);
      std::vector<double> result;
      std::vector<int64_t> ids;
      for (int64_t t = 0; t < tokens; ++t) {
        double* const score = scores.data() + t * width;
        if (norm_type == 1) {
          for (int64_t e = 0; e < width; ++e) score[e] = sigmoid(score[e]);
        } else {
          const double top = *std::max_element(score, score + width);
          double sum = 0;
          for (int64_t e = 0; e < width; ++e) sum += score[e] = std::exp(score[e] - top);
          for (int64_t e = 0; e < width; ++e) score[e] /= sum;
        }
        std::vector<double> select(score, score + width);
        for (int64_t e = 0; e < width; ++e) select[e] += offsets[e];
        if (groups > 1) {
          std::vector<double> group_score(groups);
          for (int64_t g = 0; g < groups; ++g) {
            std::vector<double> members(select.begin() + g * group, select.begin() + (g + 1) * group);
            std::sort(members.begin(), members.end(), std::greater<>());
            group_score[g] = group_select_mode == 0 ? members[0] : members[0] + members[1];
          }
          std::vector<int64_t> order(groups);
          std::iota(order.begin(), order.end(), 0);
          std::stable_sort(order.begin(), order.end(),
                           [&](int64_t a, int64_t b) { return group_score[a] > group_score[b]; });
          for (int64_t i = groups_kept; i < groups; ++i)
            std::fill_n(select.begin() + order[i] * group, group, -HUGE_VAL);
        }
        std::vector<int64_t> order(width);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return select[a] > select[b]; });
        double sum = 0;
        for (int64_t j = 0; j < k; ++j) sum += score[order[j]];
        const double divisor = norm_type == 1 || renorm == 1 ? sum + eps : 1;
        for (int64_t j = 0; j < k; ++j) {
          ids.push_back(order[j]);
          result.push_back(score[order[j]] / divisor * scaling_factor);
        }
      }
      frame.store(weights, result);
      frame.store_integers(chosen, ids);
      if (keep_norm)
        frame.store(all, scores);
      else
        frame.spoil(all);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeGatingTopK)

}  // extern "C"
