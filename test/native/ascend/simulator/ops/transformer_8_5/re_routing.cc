// Blocks that came rank by rank, each sorted by expert, are laid out expert by expert.
#include "../../nnop/op.h"
#include "../sorted_slots.h"

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnMoeReRoutingGetWorkspaceSize(const aclTensor* tokens, const aclTensor* counts_per_rank,
                                              const aclTensor* scales, int64_t count_type, int64_t index_type,
                                              const aclTensor* permuted, const aclTensor* permuted_scales,
                                              const aclTensor* index, const aclTensor* counts, uint64_t* size,
                                              aclOpExecutor** executor) {
  return plan_op("aclnnMoeReRouting", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2, Soc::kA3});
    const auto x = op.in("tokens", tokens, {kFloat16, kBf16, kInt8});
    const auto by_rank = op.in("expertTokenNumPerRank", counts_per_rank, kIndices);
    const auto scale = op.optional_in("perTokenScales", scales, {kFloat});
    const auto out = op.out("permuteTokens", permuted, {kFloat16, kBf16, kInt8});
    const auto out_scale = op.out("permutePerTokenScales", permuted_scales, {kFloat});
    const auto from = op.out("permuteTokenIdx", index, {kInt32});
    const auto totals = op.out("expertTokenNum", counts, kIndices);
    op.same_type(out, x);
    op.same_type(totals, by_rank);
    op.require(count_type == 1 && index_type == 0, "expertTokenNumType must be 1 and idxType 0");
    op.require(x->rank() == 2 && by_rank->rank() == 2, "tokens must be [M, H], expertTokenNumPerRank [ranks, experts]");
    op.require(x->dim(1) < 16384, "H must be below 16384");
    const int64_t m = x->dim(0);
    const int64_t ranks = by_rank->dim(0);
    const int64_t experts = by_rank->dim(1);
    op.shape(scale, {m});
    op.shape(out, x->shape);
    op.shape(out_scale, {m});
    op.shape(from, {m});
    op.shape(totals, {experts});
    op.workspace(1024);
    op.run([=](const Frame& frame) {
      const auto values = frame.numbers(x);
      const auto counts_of = frame.integers(by_rank);
      std::vector<int64_t> begins;
      int64_t total = 0;
      for (const int64_t count : counts_of) {
        frame.require(count >= 0, "expertTokenNumPerRank has a negative count");
        begins.push_back(total);
        total += count;
      }
      frame.require(total <= m, "expertTokenNumPerRank counts more tokens than there are");
      std::vector<int64_t> source;
      std::vector<int64_t> sums(experts, 0);
      for (int64_t e = 0; e < experts; ++e)
        for (int64_t r = 0; r < ranks; ++r)
          for (int64_t i = 0; i < counts_of[r * experts + e]; ++i) {
            source.push_back(begins[r * experts + e] + i);
            ++sums[e];
          }
      frame.store_rows(out, taken_rows(values, x->dim(1), source), total);
      if (scale.given())
        frame.store_rows(out_scale, taken_rows(frame.numbers(scale), 1, source), total);
      else
        frame.spoil(out_scale);
      frame.spoil(from);
      frame.store_first_integers(from, source, total);
      frame.store_integers(totals, sums);
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnMoeReRouting)

}  // extern "C"
