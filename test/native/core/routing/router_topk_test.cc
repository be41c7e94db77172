#include "core/routing/router_topk.h"

#include <gtest/gtest.h>

#include "naive_router.h"

namespace moe::test {
namespace {

TEST(TopK, EqualsAStableSortWithTies) {
  for (uint32_t seed = 0; seed < 3000; ++seed) {
    Random random(seed);
    const auto count = static_cast<int32_t>(random.integer(1, 80));
    const auto k = static_cast<int32_t>(random.one_in(5) ? count : random.integer(1, count));
    const std::vector<float> values = grid_logits(random, count, random.one_of({0, 2, 1000}), 1.0f);
    std::vector<int32_t> indices(k);
    std::vector<float> best(k);
    top_k(values.data(), count, k, indices.data(), best.data());
    ASSERT_EQ(indices, naive_top_k(values, k)) << "seed " << seed;
    for (int32_t i = 0; i < k; ++i) ASSERT_EQ(best[i], values[indices[i]]);
  }
}

TEST(TopK, FillsUpWithMinusInfinityByLowerIndex) {
  const std::vector<float> values{-INFINITY, -INFINITY, 2.0f, -INFINITY};
  int32_t indices[3];
  float best[3];
  top_k(values.data(), 4, 3, indices, best);
  EXPECT_EQ(indices[0], 2);
  EXPECT_EQ(indices[1], 0);
  EXPECT_EQ(indices[2], 1);
}

TEST(TopK, ChoosesDistinctIndicesAmongNaNs) {
  const std::vector<float> values{NAN, 1.0f, NAN, 3.0f, NAN, 2.0f, NAN, NAN, NAN, NAN};
  int32_t indices[10];
  float best[10];
  top_k(values.data(), 10, 10, indices, best);
  std::sort(indices, indices + 10);
  for (int32_t i = 0; i < 10; ++i) EXPECT_EQ(indices[i], i);
}

}  // namespace
}  // namespace moe::test
