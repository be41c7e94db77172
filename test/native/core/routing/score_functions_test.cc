#include "core/routing/score_functions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "naive_router.h"

namespace moe::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(ScoreFunctions, ExponentialStaysWithinAboutOneUnitInTheLastPlace) {
  double worst = 0.0;
  for (uint32_t bits = 0x80000000u; bits <= 0xc2d20000u; bits += 977) {  // -0 down to -105
    const float x = std::bit_cast<float>(bits);
    const double exact = std::exp(static_cast<double>(x));
    const float nearest = static_cast<float>(exact);
    const double unit = std::max(static_cast<double>(std::nextafter(nearest, kInfinity)) - nearest, 0x1p-149);
    worst = std::max(worst, std::fabs(exp_of_nonpositive(x) - exact) / unit);
  }
  EXPECT_TRUE(worst <= 1.1) << worst;
}

TEST(ScoreFunctions, ExponentialIsExactAtItsEnds) {
  EXPECT_EQ(exp_of_nonpositive(0.0f), 1.0f);
  EXPECT_EQ(exp_of_nonpositive(-0.0f), 1.0f);
  EXPECT_EQ(exp_of_nonpositive(-103.9f), std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(exp_of_nonpositive(-104.0f), 0.0f);
  EXPECT_EQ(exp_of_nonpositive(-3e38f), 0.0f);
  EXPECT_EQ(exp_of_nonpositive(-kInfinity), 0.0f);
}

TEST(ScoreFunctions, ScoresAndCapsAreWithinRoundingOfTheirDefinitions) {
  for (float x = -220.0f; x < 300.0f; x += 0.0137f) {
    const double root = naive_score(ScoreFunction::kSqrtSoftplus, x, 0.0), score = sqrt_softplus(x);
    EXPECT_FALSE(!(std::fabs(score - root) <= 4e-7 * root + 3e-45)) << x << ": " << score << " for " << root;
    const double capped = 30.0 * std::tanh(x / 30.0), cap = soft_capped(x, 30.0f);
    EXPECT_FALSE(!(std::fabs(cap - capped) <= 4e-7 * std::fabs(capped))) << x << ": " << cap << " for " << capped;
    if (HasFailure()) return;
  }
  EXPECT_EQ(sqrt_softplus(-INFINITY), 0.0f);
  EXPECT_EQ(sqrt_softplus(1e30f), std::sqrt(1e30f));
  EXPECT_EQ(soft_capped(1e30f, 5.0f), 5.0f);
  EXPECT_FLOAT_EQ(soft_capped(-1e-30f, 5.0f), -1e-30f);
  EXPECT_EQ(soft_capped(-INFINITY, 5.0f), -INFINITY);
}

}  // namespace
}  // namespace moe::test
