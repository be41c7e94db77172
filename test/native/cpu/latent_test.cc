// Routed experts that are narrower, or wider, than a token.
#include <cmath>
#include <limits>

#include "core/layer/layer.h"
#include "cpu/run_stages.h"
#include "layer_reference.h"

namespace moe::test {
namespace {

class Latent : public EachInstructionSet {
 protected:
  struct Result {
    std::vector<float> output, weights;
    std::vector<int32_t> experts;
  };
  Result run(const RandomLayer& random, const std::vector<float>& hidden) {
    const Layer layer(backend_, random.spec, random.host, [](int64_t, int64_t) {}, {});
    Workspace workspace(backend_);
    const int64_t tokens = static_cast<int64_t>(hidden.size()) / random.spec.hidden_size;
    const int64_t slots = tokens * random.spec.moe.num_experts_chosen;
    Result result{std::vector<float>(hidden.size()), std::vector<float>(slots), std::vector<int32_t>(slots)};
    layer.forward(
        workspace, {hidden.data(), DType::kFloat32, tokens},
        {.output = result.output.data(), .expert_ids = result.experts.data(), .weights = result.weights.data()}, {});
    return result;
  }
  void expect_reference(const LayerOptions& options, int64_t tokens, double tolerance = 1e-5) {
    RandomLayer random(options);
    const std::vector<float> hidden = random.hidden(tokens);
    const Result result = run(random, hidden);
    const double error = relative_error(result.output, layer_output(random, hidden, result.experts, result.weights));
    EXPECT_FALSE(!(error <= tolerance)) << error << " for T " << tokens << " H " << options.hidden << " L "
                                        << options.latent;
  }

  cpu::CpuDevice backend_{kernels(), 2};
};
INSTANTIATE_TEST_SUITE_P(Cpu, Latent, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

TEST_P(Latent, MatchesTheReferenceOnSizesThatAreMultiplesOfNothing) {
  for (const int32_t hidden : {1, 17, 130})
    for (const int32_t latent : {1, 5, 33, 200})
      for (const int64_t tokens : {0, 1, 2, 11, 60})
        expect_reference({.hidden = hidden, .intermediate = 23, .latent = latent, .biases = true}, tokens);
}

TEST_P(Latent, GivesTheSharedExpertTheWholeToken) {
  for (const bool gated : {false, true})
    for (const int64_t tokens : {0, 1, 40})
      expect_reference({.hidden = 45,
                        .intermediate = 8,
                        .shared = 33,
                        .latent = 19,
                        .activation = Activation::kReLU2,
                        .shared_gate = gated},
                       tokens);
}

TEST_P(Latent, MatchesTheReferenceInEveryType) {
  for (const Held held : kEveryHeld)
    expect_reference({.hidden = 70, .intermediate = 37, .shared = 20, .latent = 41, .held = held}, 13);
  for (const Held held : kEveryIntegerProduct)
    expect_reference({.hidden = 70, .intermediate = 37, .shared = 20, .latent = 41, .held = held}, 13, 0.02);
}

TEST_P(Latent, KeepsNaNAndInfinityInTheirToken) {
  RandomLayer random({.hidden = 20, .intermediate = 12, .shared = 8, .latent = 9});
  const std::vector<float> hidden = random.hidden(11);
  const std::vector<float> clean = run(random, hidden).output;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> spoilt = hidden;
    spoilt[4 * 20 + 3] = bad;
    const std::vector<float> output = run(random, spoilt).output;
    for (size_t i = 0; i < output.size(); ++i) {
      if (i / 20 == 4) {
        EXPECT_TRUE(std::isnan(output[i])) << i;
      } else {
        EXPECT_EQ(output[i], clean[i]) << i;
      }
    }
  }
}

// A projection by itself, in whatever type.
class Linear : public EachInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Cpu, Linear, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

TEST_P(Linear, MultipliesInEveryTypeAndAdds) {
  cpu::CpuDevice backend(kernels(), 2);
  const auto expect_product = [&](const Held& held, int64_t rows, double tolerance) {
    // The down projection of an expert is a matrix of every type.
    RandomLayer random({.hidden = 83, .intermediate = 71, .held = held});
    const WeightMatrix& matrix = random.host.experts[0].down;
    const LinearSpec spec{.name = "some",
                          .in_features = 71,
                          .out_features = 83,
                          .weight_type = held.type,
                          .weight_group = held.group,
                          .row_type = held.row_type};
    const std::unique_ptr<PreparedLinear> prepared = backend.moe().prepare_linear(spec, matrix, {});
    std::vector<float> in = random.hidden(rows), added = random.hidden(rows), out(rows * 83);
    in.resize(rows * 71);
    for (const bool adds : {false, true}) {
      backend.moe().linear(*prepared, float_matrix(in.data(), rows, 71),
                           float_matrix(adds ? added.data() : nullptr, rows, 83), float_matrix(out.data(), rows, 83),
                           {});
      std::vector<double> expected;
      for (int64_t row = 0; row < rows; ++row) {
        const std::vector<double> x(in.begin() + row * 71, in.begin() + (row + 1) * 71);
        for (const double y : affine(random.dense[0].down, x, {}))
          expected.push_back(y + (adds ? added[expected.size()] : 0.0));
      }
      const double error = relative_error(out, expected);
      EXPECT_FALSE(!(error <= tolerance)) << error << " in type " << static_cast<int>(held.type) << " of " << rows;
    }
  };
  for (const int64_t rows : {0, 1, 3, 50}) {
    for (const Held held : kEveryHeld) expect_product(held, rows, 1e-6);
    for (const Held held : kEveryIntegerProduct) expect_product(held, rows, 0.01);
  }
}

}  // namespace
}  // namespace moe::test
