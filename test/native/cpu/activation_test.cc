#include <cmath>
#include <limits>

#include "cpu/run_stages.h"

namespace moe::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

class ActivationFunctions : public EachInstructionSet {
 protected:
  std::vector<float> activate(const Activation& activation, const std::vector<float>& gate,
                              const std::vector<float>& up) {
    std::vector<float> out(up.size());
    kernels().activate(cpu::epilogue_of(activation), gate.data(), up.data(), out.data(),
                       static_cast<int64_t>(up.size()));
    return out;
  }
};
INSTANTIATE_TEST_SUITE_P(Cpu, ActivationFunctions, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

constexpr double kUlp = std::numeric_limits<float>::epsilon();

// With up = 1 where there is a gate.
double exact(const Activation& activation, double x) {
  return test::activate(activation, x, is_gated(activation) ? 1.0 : x);
}

// How much a relative error of x grows on its way to the result.
double condition(const Activation& activation, double x) {
  constexpr double kStep = 1e-6;
  const double change = exact(activation, x * (1 + kStep)) - exact(activation, x * (1 - kStep));
  return std::abs(change / (2 * kStep * exact(activation, x)));
}

// A few roundings, each as bad as a rounded argument; products of subnormal numbers lose a little more.
TEST_P(ActivationFunctions, StayWithinAFewRoundingsOfTheExactValue) {
  std::vector<float> points;
  for (double x = -120; x <= 120; x += 0.00137) points.push_back(static_cast<float>(x));
  for (float x = 1e-37f; x < 1e30f; x *= 1.7f) points.insert(points.end(), {x, -x});
  const std::vector<float> ones(points.size(), 1.0f);
  for (const Activation& activation : kEveryActivation) {
    const std::vector<float> out =
        is_gated(activation) ? activate(activation, points, ones) : activate(activation, {}, points);
    double worst = 0, at = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      const double x = points[i], expected = exact(activation, x);
      if (expected > std::numeric_limits<float>::max()) {
        EXPECT_EQ(out[i], kInfinity);
        continue;
      }
      const double subnormal = 2 * std::numeric_limits<float>::denorm_min() * std::max(1.0, std::abs(x));
      const double rounding = expected == 0 ? 0 : kUlp * std::abs(expected) * (1 + condition(activation, x));
      const double error = std::abs(out[i] - expected) / (rounding + subnormal);
      if (!(error <= worst)) worst = error, at = x;
    }
    EXPECT_FALSE(!(worst <= 3)) << name_of(activation) << " is off by " << worst << " roundings at " << at;
  }
}

TEST_P(ActivationFunctions, KeepNaN) {
  for (const Activation& activation : kEveryActivation) {
    EXPECT_TRUE(std::isnan(activate(activation, {1}, {kNaN})[0]));
    if (is_gated(activation)) {
      EXPECT_TRUE(std::isnan(activate(activation, {kNaN}, {1})[0]));
    }
  }
}

TEST_P(ActivationFunctions, GoToTheirLimitsAtInfinity) {
  for (const Activation activation : {Activation::kGELU, Activation::kGELUTanh, Activation::kReLU, Activation::kSiLU}) {
    for (const float large : {1e4f, 1e20f, 3e38f, kInfinity}) {
      EXPECT_EQ(activate(activation, {}, {large})[0], large);
      EXPECT_EQ(activate(activation, {}, {-large})[0], 0);
    }
  }
  EXPECT_EQ(activate(Activation::kReLU2, {}, {kInfinity})[0], kInfinity);
  EXPECT_EQ(activate(Activation::kReLU2, {}, {-kInfinity})[0], 0);
  for (const Activation& activation : {Activation(Activation::kSwiGLU), Activation(Activation::kSwiGLU, 0.001f),
                                       Activation(Activation::kGeGLU), Activation(Activation::kGeGLUTanh)}) {
    EXPECT_EQ(activate(activation, {kInfinity}, {2})[0], kInfinity);
    EXPECT_EQ(activate(activation, {-kInfinity}, {2})[0], 0);
  }
  EXPECT_EQ(activate(kGptOss, {kInfinity}, {kInfinity})[0], activate(kGptOss, {7}, {7})[0]);
  EXPECT_EQ(activate(kGptOss, {-kInfinity}, {-kInfinity})[0], 0);
}

TEST_P(ActivationFunctions, ClampBeforeOrAfterTheSigmoid) {
  const Activation before(Activation::kSwiGLU, 1, 3), after(Activation::kSwiGLU, 1, 3, Clamp::kAfter);
  for (const float large : {9.0f, 1e20f, kInfinity}) {
    EXPECT_EQ(activate(before, {large}, {large})[0], activate(Activation::kSwiGLU, {3}, {3})[0]);
    EXPECT_EQ(activate(after, {large}, {large})[0], 9.0f);
    EXPECT_EQ(activate(after, {large}, {-large})[0], -9.0f);
    for (const Activation& activation : {before, after}) {
      EXPECT_EQ(activate(activation, {-large}, {2})[0], activate(Activation::kSwiGLU, {-large}, {2})[0]);
    }
  }
  EXPECT_LT(activate(before, {3}, {1})[0], activate(after, {3.1f}, {1})[0]);
}

TEST_P(ActivationFunctions, AreTheSameInEveryLane) {
  for (const Activation& activation : kEveryActivation) {
    const std::vector<float> out = activate(activation, std::vector<float>(37, 0.7f), std::vector<float>(37, -1.3f));
    EXPECT_EQ(out, std::vector<float>(37, out[0]));
  }
}

}  // namespace
}  // namespace moe::test
