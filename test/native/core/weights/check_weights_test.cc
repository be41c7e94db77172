#include "core/weights/check_weights.h"

#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "fakes/small_layer.h"

namespace moe::test {
namespace {

const float kNothing = 0.0f;

// The message check_weights throws for a layer that `change` has damaged; empty when it throws nothing.
template <class Change>
std::string message_after(Change&& change) {
  SmallLayer small;
  change(small.spec, small.weights);
  try {
    check_weights(small.spec, small.weights);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kShape);
    return error.what();
  }
  return "";
}

TEST(CheckWeights, AcceptsWeightsThatFit) {
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights&) {}), "");
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) {
              weights.router_bias = {&kNothing, DType::kFloat32, 4};
              weights.correction_bias = {&kNothing, DType::kFloat32, 4};
              weights.experts[3].down_bias = {&kNothing, DType::kFloat32, 2};
              weights.shared_router = {};
            }),
            "");
  EXPECT_EQ(message_after([](LayerSpec& spec, LayerWeights& weights) {
              spec.activation = spec.shared_activation = Activation::kGELU;
              for (ExpertWeights& expert : weights.experts) expert.gate = {};
              weights.shared->gate = {};
            }),
            "");
}

TEST(CheckWeights, NeedsNoRouterForASingleExpert) {
  EXPECT_EQ(message_after([](LayerSpec& spec, LayerWeights& weights) {
              spec.moe.expert_num = 1;
              weights.experts.resize(1);
              weights.router = {};
            }),
            "");
}

TEST(CheckWeights, NamesTheMatrixThatDoesNotFitAndBothShapes) {
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) { weights.router = {}; }),
            "Expected `router` of shape [4, 2], got none");
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) { weights.router.out_features = 5; }),
            "Expected `router` to have shape [4, 2], got [5, 2]");
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) { weights.experts[2].down.in_features = 7; }),
            "Expected `experts[2].down` to have shape [2, 3], got [2, 7]");
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) { weights.experts[1].gate = {}; }),
            "Expected `experts[1].gate` of shape [3, 2], got none");
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) { weights.shared->up.in_features = 3; }),
            "Expected `shared.up` to have shape [3, 2], got [3, 3]");
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) { weights.shared_router.out_features = 2; }),
            "Expected `shared.router` to have shape [1, 2], got [2, 2]");
}

TEST(CheckWeights, NamesTheBiasThatDoesNotFit) {
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) {
              weights.correction_bias = {&kNothing, DType::kFloat32, 3};
            }),
            "Expected `routerCorrectionBias` to have 4 values, got 3");
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) {
              weights.experts[0].up_bias = {&kNothing, DType::kFloat32, 2};
            }),
            "Expected `experts[0].upBias` to have 3 values, got 2");
}

TEST(CheckWeights, CountsTheExperts) {
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) { weights.experts.resize(3); }),
            "Expected weights of 4 experts, got 3");
}

TEST(CheckWeights, WantsAGateExactlyWhenTheActivationHasOne) {
  EXPECT_EQ(message_after([](LayerSpec& spec, LayerWeights&) { spec.activation = Activation::kReLU; }),
            "Expected no `experts[0].gate`: the activation has no gate");
}

TEST(CheckWeights, WantsAGateOfTheSharedExpertByItsOwnActivation) {
  EXPECT_EQ(message_after([](LayerSpec& spec, LayerWeights&) { spec.shared_activation = Activation::kReLU2; }),
            "Expected no `shared.gate`: the activation has no gate");
}

TEST(CheckWeights, WantsProjectionsExactlyWhenThereIsALatentSize) {
  const auto with_latent = [](const std::function<void(LayerWeights&)>& change) {
    return message_after([&](LayerSpec& spec, LayerWeights& weights) {
      spec.latent_size = 1;
      for (ExpertWeights& expert : weights.experts)
        expert.gate.in_features = expert.up.in_features = expert.down.out_features = 1;
      weights.latent_down = {&kNothing, DType::kFloat32, 1, 2, 0, 0};
      weights.latent_up = {&kNothing, DType::kFloat32, 2, 1, 0, 0};
      change(weights);
    });
  };
  EXPECT_EQ(with_latent([](LayerWeights&) {}), "");
  EXPECT_EQ(with_latent([](LayerWeights& weights) { weights.latent_down = {}; }),
            "Expected `latentDown` of shape [1, 2], got none");
  EXPECT_EQ(with_latent([](LayerWeights& weights) { weights.latent_up.out_features = 3; }),
            "Expected `latentUp` to have shape [2, 1], got [3, 1]");
  EXPECT_EQ(with_latent([](LayerWeights& weights) { weights.experts[1].up.in_features = 2; }),
            "Expected `experts[1].up` to have shape [3, 1], got [3, 2]");
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) {
              weights.latent_up = {&kNothing, DType::kFloat32, 2, 1, 0, 0};
            }),
            "Expected no `latentDown` and no `latentUp`: there is no latent size");
}

TEST(CheckWeights, WantsASharedExpertExactlyWhenItHasAWidth) {
  const std::string message = "Expected shared expert weights exactly when the shared expert has a width";
  EXPECT_EQ(message_after([](LayerSpec& spec, LayerWeights&) { spec.shared_size = 0; }), message);
  EXPECT_EQ(message_after([](LayerSpec&, LayerWeights& weights) { weights.shared.reset(); }), message);
}

}  // namespace
}  // namespace moe::test
