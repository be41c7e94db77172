#include "core/routing/router_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace moe {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(RouterScores, SoftmaxSumsToOneForAnyLengthAndReturnsItsSum) {
  for (int32_t count = 1; count < 70; ++count) {
    std::vector<float> logits(count), scores(count);
    for (int32_t i = 0; i < count; ++i) logits[i] = static_cast<float>((i * 7) % 11) - 3.0f;
    const float max = routable_max(logits.data(), count);
    double sum = 0.0, total = 0.0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
    EXPECT_NEAR(softmax(logits.data(), max, count, scores.data()), sum, 1e-6 * sum);
    for (int32_t i = 0; i < count; ++i) {
      EXPECT_NEAR(scores[i], std::exp(static_cast<double>(logits[i]) - max) / sum, 3e-7);
      total += scores[i];
    }
    EXPECT_NEAR(total, 1.0, 1e-6);
    EXPECT_NEAR(sum_of(scores.data(), count), total, 1e-14);
  }
}

TEST(RouterScores, SigmoidIsAccurateFarFromZero) {
  const std::vector<float> logits{0.0f, 1.0f, -1.0f, 20.0f, -20.0f, -90.0f, 200.0f, -200.0f, -kInfinity};
  std::vector<float> scores(logits.size());
  sigmoid(logits.data(), static_cast<int32_t>(logits.size()), scores.data());
  for (size_t i = 0; i < logits.size(); ++i) {
    const double exact = 1.0 / (1.0 + std::exp(-static_cast<double>(logits[i])));
    EXPECT_TRUE(std::fabs(scores[i] - exact) <= 3e-7 * exact + 1e-45) << logits[i];
  }
}

TEST(RouterScores, FindsAnUnroutableLogitWhereverItStands) {
  for (int32_t count = 1; count < 40; ++count)
    for (int32_t bad = 0; bad < count; ++bad) {
      std::vector<float> logits(count, -2.0f);
      logits[bad] = 5.0f;
      EXPECT_EQ(routable_max(logits.data(), count), 5.0f);
      for (const float value : {kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
        logits[bad] = value;
        EXPECT_TRUE(std::isnan(routable_max(logits.data(), count)));
      }
      logits.assign(count, -kInfinity);
      EXPECT_TRUE(std::isnan(routable_max(logits.data(), count)));
      logits[bad] = -7.0f;
      EXPECT_EQ(routable_max(logits.data(), count), -7.0f);
    }
}

}  // namespace
}  // namespace moe
