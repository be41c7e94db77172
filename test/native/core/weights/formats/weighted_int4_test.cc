// int4 of weights whose inputs count for more or less, beside every scale that there is.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/weight_format.h"
#include "core/weights/float16.h"

namespace moe {
namespace {

using Row = std::vector<float>;

const WeightFormat& int4() { return format_of(WeightType::kInt4); }

struct Encoded {
  std::vector<int8_t> q;
  std::vector<uint16_t> scales;
  bool operator==(const Encoded&) const = default;
};

Encoded weighted(const Row& weights, const Row& importance, int64_t group) {
  const auto count = static_cast<int64_t>(weights.size());
  Encoded result{std::vector<int8_t>(count, 99), std::vector<uint16_t>((count + group - 1) / group)};
  int4().encode_weighted(weights.data(), importance.data(), count, group, result.q.data(), result.scales.data());
  return result;
}

Encoded plain(const Row& weights, int64_t group) {
  const auto count = static_cast<int64_t>(weights.size());
  Encoded result{std::vector<int8_t>(count), std::vector<uint16_t>((count + group - 1) / group)};
  int4().encode(weights.data(), count, group, result.q.data(), result.scales.data());
  return result;
}

// Sum of importance * error^2.
double error_of(const Row& weights, const Row& importance, int64_t group, const Encoded& held) {
  double error = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double off = held.q[i] * static_cast<double>(from_bfloat16(held.scales[i / group])) - weights[i];
    error += importance[i] * off * off;
  }
  return error;
}

// Of one group, with the best of all bfloat16 that may be its scale.
double least_error(const Row& weights, const Row& importance) {
  double least = std::numeric_limits<double>::infinity();
  const float most = std::abs(*std::ranges::max_element(weights, {}, [](float w) { return std::abs(w); }));
  for (uint16_t bits = to_bfloat16(most / 50); bits <= to_bfloat16(most / 5); ++bits)
    for (const double scale : {static_cast<double>(from_bfloat16(bits)), -static_cast<double>(from_bfloat16(bits))}) {
      double error = 0;
      for (size_t i = 0; i < weights.size(); ++i) {
        const double off = std::clamp(std::nearbyint(weights[i] / scale), -8.0, 7.0) * scale - weights[i];
        error += importance[i] * off * off;
      }
      least = std::min(least, error);
    }
  return least;
}

class Randoms {
 public:
  explicit Randoms(uint32_t seed) : random_(seed) {}
  Row weights(int64_t count) {
    return row(count, [](float normal) { return 0.02f * normal; });
  }
  // Some inputs count hundreds of times as much as others.
  Row importance(int64_t count) {
    return row(count, [](float normal) { return 1e-3f * std::exp(2 * normal); });
  }

 private:
  template <class Make>
  Row row(int64_t count, const Make& make) {
    Row values(count);
    for (float& value : values) value = make(normal_(random_));
    return values;
  }
  std::mt19937 random_;
  std::normal_distribution<float> normal_;
};

TEST(WeightedInt4, ComesCloseToTheBestOfAllScales) {
  double all = 0, best = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    Randoms randoms(seed);
    const int64_t count = std::vector<int64_t>{5, 17, 32, 64}[seed % 4];
    const Row weights = randoms.weights(count), importance = randoms.importance(count);
    const double error = error_of(weights, importance, count, weighted(weights, importance, count));
    const double least = least_error(weights, importance);
    const double most = error_of(weights, importance, count, plain(weights, count));
    EXPECT_TRUE(error <= least + 0.02 * most) << seed << ": " << error << " of " << most << ", least " << least;
    all += error;
    best += least;
  }
  EXPECT_TRUE(all <= 1.005 * best) << all / best;
}

TEST(WeightedInt4, IsNeverWorseThanWithoutImportanceAndMuchBetterWhereInputsDiffer) {
  for (const bool skewed : {false, true}) {
    double with = 0, without = 0;
    for (uint32_t seed = 0; seed < 200; ++seed) {
      Randoms randoms(seed);
      const Row weights = randoms.weights(32), importance = skewed ? randoms.importance(32) : Row(32, 0.5f);
      const double error = error_of(weights, importance, 32, weighted(weights, importance, 32));
      const double plain_error = error_of(weights, importance, 32, plain(weights, 32));
      EXPECT_TRUE(error <= 1.0001 * plain_error) << seed;
      with += error;
      without += plain_error;
    }
    EXPECT_TRUE(with <= (skewed ? 0.7 : 1.0) * without) << with / without;
  }
}

TEST(WeightedInt4, QuantisesEachGroupByItself) {
  Randoms randoms(1);
  const Row weights = randoms.weights(150), importance = randoms.importance(150);
  const Encoded all = weighted(weights, importance, 64);
  for (int64_t begin = 0, group = 0; begin < 150; begin += 64, ++group) {
    const int64_t end = std::min<int64_t>(150, begin + 64);
    const Encoded one = weighted(Row(weights.begin() + begin, weights.begin() + end),
                                 Row(importance.begin() + begin, importance.begin() + end), 64);
    EXPECT_EQ(one.scales[0], all.scales[group]);
    EXPECT_TRUE(std::equal(one.q.begin(), one.q.end(), all.q.begin() + begin));
  }
}

TEST(WeightedInt4, DoesNotCareHowLargeImportanceIs) {
  Randoms randoms(2);
  const Row weights = randoms.weights(128), importance = randoms.importance(128);
  const Encoded held = weighted(weights, importance, 32);
  for (const float factor : {0x1p-60f, 0x1p80f}) {
    Row other = importance;
    for (float& value : other) value *= factor;
    EXPECT_EQ(weighted(weights, other, 32), held) << factor;
  }
}

TEST(WeightedInt4, HoldsAGroupWhoseInputsAllCountNothingAsWithoutImportance) {
  const Row weights = Randoms(3).weights(64);
  EXPECT_EQ(weighted(weights, Row(64, 0.0f), 32), plain(weights, 32));
}

TEST(WeightedInt4, CutsOffWhatCountsForNothing) {
  Row weights = Randoms(4).weights(32), importance(32, 1.0f);
  weights[7] = 0.2f;
  importance[7] = 0;
  const double error = error_of(weights, importance, 32, weighted(weights, importance, 32));
  EXPECT_TRUE(error < 0.2 * error_of(weights, importance, 32, plain(weights, 32)));
}

TEST(WeightedInt4, HoldsWhatIsNoNumberAndTheEndsOfTheRangeAsWithoutImportance) {
  constexpr float kMost = std::numeric_limits<float>::max();
  const Row importance = Randoms(5).importance(96);
  for (const float odd : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    Row weights = Randoms(6).weights(96);
    weights[40] = odd;
    const Encoded held = weighted(weights, importance, 32);
    EXPECT_TRUE(std::isnan(from_bfloat16(held.scales[1])));
    EXPECT_FALSE(std::isnan(from_bfloat16(held.scales[0])) || std::isnan(from_bfloat16(held.scales[2])));
    EXPECT_TRUE(std::all_of(held.q.begin() + 32, held.q.begin() + 64, [](int8_t q) { return q == 0; }));
  }
  for (const float small : {0.0f, -0.0f, 1e-40f})
    EXPECT_EQ(weighted(Row(32, small), importance, 32), plain(Row(32, small), 32));
  const Encoded large = weighted({kMost, -kMost, kMost / 2, 0}, {1, 2, 3, 4}, 32);
  EXPECT_NEAR(large.q[0] * static_cast<double>(from_bfloat16(large.scales[0])) / kMost, 1, 0.15);
}

}  // namespace
}  // namespace moe
