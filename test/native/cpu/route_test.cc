#include <cmath>
#include <limits>

#include "cpu/run_stages.h"

namespace moe::test {
namespace {

struct Routed {
  std::vector<int32_t> experts;
  std::vector<float> weights;
  std::vector<uint32_t> load;
  RoutingTotals totals;
};

class Route : public EachInstructionSet {
 protected:
  Routed route(const RandomLayer& layer, std::vector<float> hidden, int64_t tokens) {
    const int64_t slots = tokens * layer.spec.moe.num_experts_chosen;
    Routed out{std::vector<int32_t>(slots), std::vector<float>(slots), std::vector<uint32_t>(layer.spec.moe.expert_num),
               RoutingTotals{1, 1, 1, 1}};
    backend_.moe().route(*backend_.moe().prepare_router(layer.spec, layer.host),
                         {float_matrix(hidden.data(), tokens, layer.spec.hidden_size), nullptr},
                         {out.experts.data(), out.weights.data(), out.load.data(), &out.totals});
    return out;
  }

  cpu::CpuDevice backend_{kernels(), 2};
};
INSTANTIATE_TEST_SUITE_P(Cpu, Route, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

TEST_P(Route, ChoosesTheExpertsWithTheLargestLogits) {
  constexpr int64_t kTokens = 61;
  RandomLayer layer({.hidden = 37, .intermediate = 4, .experts = 45, .top_k = 3});
  std::vector<float> bias(45);
  for (size_t e = 0; e < bias.size(); ++e) bias[e] = 0.1f * static_cast<float>(e % 5);
  layer.host.router_bias = {bias.data(), DType::kFloat32, 45, 1};
  const std::vector<float> hidden = layer.hidden(kTokens);
  const Routed routed = route(layer, hidden, kTokens);
  for (int64_t token = 0; token < kTokens; ++token) {
    const std::vector<double> x(hidden.begin() + token * 37, hidden.begin() + (token + 1) * 37);
    const std::vector<double> logits = affine(layer.dense_router, x, std::vector<double>(bias.begin(), bias.end()));
    double last = std::numeric_limits<double>::infinity();
    for (int64_t choice = 0; choice < 3; ++choice) {
      const double chosen = logits[routed.experts[token * 3 + choice]];
      EXPECT_LE(chosen, last);
      last = chosen;
    }
    for (int32_t e = 0; e < 45; ++e) {
      if (std::count(routed.experts.begin() + token * 3, routed.experts.begin() + token * 3 + 3, e) == 0) {
        EXPECT_LE(logits[e], last) << "token " << token << " passed over expert " << e;
      }
    }
  }
}

TEST_P(Route, GivesEveryTokenToAnOnlyExpertWithWeightOne) {
  RandomLayer layer({.hidden = 9, .intermediate = 4, .experts = 1, .top_k = 1});
  const Routed routed = route(layer, layer.hidden(20), 20);
  EXPECT_EQ(routed.experts, std::vector<int32_t>(20, 0));
  EXPECT_EQ(routed.weights, std::vector<float>(20, 1.0f));
  EXPECT_EQ(routed.load[0], 20u);
  EXPECT_EQ(routed.totals.aux_loss, 0);
  EXPECT_EQ(routed.totals.z_loss, 0);
  EXPECT_EQ(routed.totals.dropped_choices, 0);
  EXPECT_EQ(routed.totals.capacity, -1);
}

TEST_P(Route, MarksATokenThatIsNotFiniteUnroutable) {
  for (const int32_t experts : {1, 6})
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      RandomLayer layer({.hidden = 23, .intermediate = 4, .experts = experts, .top_k = 1});
      std::vector<float> hidden = layer.hidden(15);
      hidden[4 * 23 + 22] = bad;
      const Routed routed = route(layer, hidden, 15);
      for (int64_t token = 0; token < 15; ++token) {
        EXPECT_EQ(routed.experts[token] == -1, token == 4);
        EXPECT_EQ(std::isnan(routed.weights[token]), token == 4);
      }
    }
}

TEST_P(Route, AcceptsAnEmptyBatch) {
  for (const int32_t experts : {1, 6}) {
    RandomLayer layer({.hidden = 23, .intermediate = 4, .experts = experts, .top_k = 1});
    const Routed routed = route(layer, {}, 0);
    EXPECT_EQ(routed.load, std::vector<uint32_t>(experts, 0u));
  }
}

}  // namespace
}  // namespace moe::test
