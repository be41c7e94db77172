// Running a Router in tests: results that own their memory, executors, seeded logits.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "core/routing/router.h"

namespace moe::test {

struct RoutingResult {
  RoutingResult(int64_t tokens, int32_t num_experts, int32_t top_k)
      : experts(tokens * top_k, -7), weights(tokens * top_k, -7.0f), expert_load(num_experts, 7) {}

  RoutingArrays view() { return {experts.data(), weights.data(), expert_load.data(), &totals}; }

  std::vector<int32_t> experts;
  std::vector<float> weights;
  std::vector<uint32_t> expert_load;
  RoutingTotals totals{-7.0, -7.0, -7, -7};
};

inline RoutingResult run_router(const MoEConfig& config, const std::vector<float>& logits,
                                std::span<const float> correction_bias = {}, std::span<const float> expert_scale = {},
                                const std::vector<int32_t>& given = {}) {
  const auto tokens = static_cast<int64_t>(logits.size()) / config.router_rows();
  RoutingResult result(tokens, config.expert_num, config.num_experts_chosen);
  std::copy(given.begin(), given.end(), result.experts.begin());
  SerialExecutor executor;
  Router(config, correction_bias, expert_scale).route(logits, tokens, executor, result.view(), !given.empty());
  return result;
}

// Pieces of 1, 2, 3, 1, 2, ... items, the last one first.
class BackwardsExecutor final : public Executor {
 public:
  void parallel_for(int64_t count, int64_t, FunctionRef<void(int64_t, int64_t)> body) override {
    std::vector<int64_t> cuts{0};
    for (int64_t piece = 1; cuts.back() < count; piece = piece % 3 + 1)
      cuts.push_back(std::min(cuts.back() + piece, count));
    for (size_t i = cuts.size(); --i > 0;) body(cuts[i - 1], cuts[i]);
  }
};

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}

  // From `first` to `last`, both included.
  int64_t integer(int64_t first, int64_t last) { return first + engine_() % (last - first + 1); }
  bool one_in(int64_t count) { return integer(1, count) == 1; }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[integer(0, static_cast<int64_t>(values.size()) - 1)];
  }

 private:
  std::mt19937 engine_;
};

// Logits on a grid: equal ones tie exactly, and unequal ones keep their order in any scores.
inline std::vector<float> grid_logits(Random& random, int64_t count, int64_t steps, float step) {
  std::vector<float> logits(count);
  for (float& logit : logits) logit = static_cast<float>(random.integer(-steps, steps)) * step;
  return logits;
}

inline void expect_near(double actual, double expected, double tolerance, const char* what) {
  if (std::isnan(expected) && std::isnan(actual)) return;
  EXPECT_TRUE(std::fabs(actual - expected) <= tolerance * std::max(1.0, std::fabs(expected)))
      << what << ": expected " << expected << ", got " << actual;
}

inline void expect_same_routing(const RoutingResult& actual, const RoutingResult& expected) {
  EXPECT_EQ(actual.experts, expected.experts);
  EXPECT_EQ(actual.expert_load, expected.expert_load);
  EXPECT_EQ(actual.totals.dropped_choices, expected.totals.dropped_choices);
  EXPECT_EQ(actual.totals.capacity, expected.totals.capacity);
  expect_near(actual.totals.aux_loss, expected.totals.aux_loss, 2e-6, "aux_loss");
  expect_near(actual.totals.z_loss, expected.totals.z_loss, 2e-6, "z_loss");
  ASSERT_EQ(actual.weights.size(), expected.weights.size());
  for (size_t i = 0; i < expected.weights.size(); ++i)
    expect_near(actual.weights[i], expected.weights[i], 2e-6, "weight");
}

}  // namespace moe::test
