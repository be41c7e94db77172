// int8 and int4.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/weight_format.h"
#include "core/weights/float16.h"

namespace moe {
namespace {

struct Quantized {
  std::vector<int8_t> q;
  std::vector<float> scales;
};

Quantized quantized(WeightType type, const std::vector<float>& weights, int64_t group) {
  const auto count = static_cast<int64_t>(weights.size()), size = group == 0 ? count : group;
  Quantized result{std::vector<int8_t>(count, 99), {}};
  std::vector<uint16_t> scales((count + size - 1) / size);
  format_of(type).encode(weights.data(), count, group, result.q.data(), scales.data());
  for (const uint16_t bits : scales) result.scales.push_back(from_bfloat16(bits));
  return result;
}

std::vector<float> gaussian(int64_t count, float deviation = 1) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

double relative_error(const std::vector<float>& weights, const Quantized& quantized, int64_t group) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double held = quantized.q[i] * static_cast<double>(quantized.scales[group == 0 ? 0 : i / group]);
    difference += (held - weights[i]) * (held - weights[i]);
    norm += static_cast<double>(weights[i]) * weights[i];
  }
  return std::sqrt(difference / norm);
}

TEST(ScaledIntegers, KeepsInt8WithinHalfAStepOfEveryWeight) {
  for (const int64_t count : {1, 5, 31, 32, 33, 100, 257})
    for (const int64_t group : {0, 32, 64, 128}) {
      const std::vector<float> weights = gaussian(count, 0.02f);
      const Quantized held = quantized(WeightType::kInt8, weights, group);
      for (int64_t i = 0; i < count; ++i) {
        const float scale = held.scales[group == 0 ? 0 : i / group];
        ASSERT_LE(std::abs(held.q[i]), 127);
        ASSERT_LE(std::abs(held.q[i] * scale - weights[i]), 0.5001f * scale) << i << " of " << count;
      }
    }
}

TEST(ScaledIntegers, HasTheErrorThatTheDocumentationStates) {
  const std::vector<float> weights = gaussian(1 << 16);
  const auto error = [&](WeightType type, int64_t group) {
    return relative_error(weights, quantized(type, weights, group), group);
  };
  EXPECT_NEAR(error(WeightType::kInt8, 32), 0.0055, 0.0002);
  EXPECT_NEAR(error(WeightType::kInt8, 128), 0.0065, 0.0002);
  EXPECT_NEAR(error(WeightType::kInt4, 32), 0.0817, 0.001);
  EXPECT_NEAR(error(WeightType::kInt4, 64), 0.0907, 0.001);
}

TEST(ScaledIntegers, FindsTheScaleOfWeightsThatAreMultiplesOfOne) {
  std::vector<float> weights(32);
  for (int i = 0; i < 32; ++i) weights[i] = 0.5f * static_cast<float>(i % 16 - 8);
  const Quantized held = quantized(WeightType::kInt4, weights, 32);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(held.q[i] * held.scales[0], weights[i]) << i;
}

TEST(ScaledIntegers, StaysInTheRangeOfFourBits) {
  for (const float sign : {1.0f, -1.0f}) {
    std::vector<float> weights = gaussian(64);
    weights[5] = 40 * sign;
    const Quantized held = quantized(WeightType::kInt4, weights, 32);
    for (const int8_t q : held.q) {
      EXPECT_GE(q, -8);
      EXPECT_LE(q, 7);
    }
    EXPECT_NEAR(held.q[5] * held.scales[0], weights[5], 6);
  }
}

TEST(ScaledIntegers, HoldsZerosAndTheSmallestNumbersAsZero) {
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4})
    for (const float value : {0.0f, -0.0f, 1e-40f, -1e-38f}) {
      const Quantized held = quantized(type, std::vector<float>(40, value), 32);
      for (const int8_t q : held.q) EXPECT_EQ(q, 0);
      for (const float scale : held.scales) EXPECT_EQ(scale, 0.0f);
    }
}

TEST(ScaledIntegers, HoldsTheLargestNumbers) {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
    const Quantized held = quantized(type, {kMax, -kMax, kMax / 2, 0}, 32);
    EXPECT_NEAR(held.q[0] * static_cast<double>(held.scales[0]) / kMax, 1, 0.15);
    EXPECT_NEAR(held.q[1] * static_cast<double>(held.scales[0]) / kMax, -1, 0.15);
  }
}

TEST(ScaledIntegers, GivesTheScaleNaNToAGroupWithAWeightThatIsNotFiniteAndToNoOther) {
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4})
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      std::vector<float> weights = gaussian(96);
      weights[40] = bad;
      const Quantized held = quantized(type, weights, 32);
      EXPECT_FALSE(std::isnan(held.scales[0]));
      EXPECT_TRUE(std::isnan(held.scales[1]));
      EXPECT_FALSE(std::isnan(held.scales[2]));
      EXPECT_EQ(held.q[40], 0);
    }
}

}  // namespace
}  // namespace moe
