#include "cpu/run_stages.h"

namespace moe::test {
namespace {

class SharedExpert : public EachInstructionSet {
 protected:
  void expect_reference(const LayerOptions& options, int64_t tokens) {
    RandomLayer layer(options);
    const auto prepared = backend_.moe().prepare_shared(layer.spec, layer.host, [](int64_t, int64_t) {}, {});
    std::vector<float> hidden = layer.hidden(tokens), output(hidden.size());
    backend_.moe().run_shared(*prepared, {float_matrix(hidden.data(), tokens, options.hidden), nullptr},
                              float_matrix(output.data(), tokens, options.hidden), {});

    std::vector<double> expected;
    for (int64_t token = 0; token < tokens; ++token) {
      const std::vector<double> x(hidden.begin() + token * options.hidden,
                                  hidden.begin() + (token + 1) * options.hidden);
      const double scale = options.shared_gate ? sigmoid(affine(layer.dense_shared_router, x, {})[0]) : 1;
      for (const double y : run_expert(layer.dense_shared, layer.spec.shared_activation, x))
        expected.push_back(scale * y);
    }
    const double error = relative_error(output, expected);
    EXPECT_FALSE(!(error <= 1e-5)) << error << " at T " << tokens;
  }

  cpu::CpuDevice backend_{kernels(), 2};
};
INSTANTIATE_TEST_SUITE_P(Cpu, SharedExpert, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

TEST_P(SharedExpert, MatchesTheReference) {
  for (const int64_t tokens : {0, 1, 5, 250})
    expect_reference({.hidden = 45, .intermediate = 8, .shared = 70, .biases = true}, tokens);
}

TEST_P(SharedExpert, IsScaledByItsGate) {
  for (const int64_t tokens : {0, 1, 5, 250})
    for (const Held held : kEveryHeld)
      expect_reference({.hidden = 45, .intermediate = 8, .shared = 33, .held = held, .shared_gate = true}, tokens);
}

TEST_P(SharedExpert, MayHaveTwoMatrices) {
  expect_reference({.hidden = 21, .intermediate = 8, .shared = 50, .activation = Activation::kGELU}, 40);
}

TEST_P(SharedExpert, MayComputeSomethingElseThanTheRoutedOnes) {
  for (const Activation& activation : kEveryActivation)
    expect_reference({.hidden = 21,
                      .intermediate = 8,
                      .shared = 50,
                      .latent = 9,
                      .activation = Activation::kSiLU,
                      .shared_activation = activation},
                     40);
}

}  // namespace
}  // namespace moe::test
