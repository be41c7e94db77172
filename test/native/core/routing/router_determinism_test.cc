#include <gtest/gtest.h>

#include <cstring>

#include "routing_case.h"

namespace moe::test {
namespace {

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

TEST(Router, GivesTheSameBitsHoweverTheWorkIsCut) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    MoEConfig config;
    config.routing_policy = seed % 2 ? RoutingPolicy::kTopkRouterV1 : RoutingPolicy::kTopkRouterV2;
    config.expert_num = 72;
    config.num_experts_chosen = 5;
    config.capacity_factor = 1.0;
    config.tokens_per_group = random.one_of({0, 50});
    config.score_function = random.one_of({ScoreFunction::kSoftmax, ScoreFunction::kSigmoid});
    config.topk_method = TopkMethod::kNoauxTc;
    config.n_group = 6;
    config.topk_group = 3;
    config.aux_losses = {{0.01, 72}};
    config.z_loss_factor = 0.1;
    const std::vector<float> logits = grid_logits(random, 130 * 72, 1000, 0.003f);

    RoutingResult serial(130, 72, 5), cut(130, 72, 5);
    SerialExecutor serially;
    BackwardsExecutor backwards;
    Router(config, {}).route(logits, 130, serially, serial.view());
    Router(config, {}).route(logits, 130, backwards, cut.view());
    EXPECT_TRUE(same_bytes(serial.experts, cut.experts));
    EXPECT_TRUE(same_bytes(serial.weights, cut.weights));
    EXPECT_TRUE(same_bytes(serial.expert_load, cut.expert_load));
    EXPECT_EQ(serial.totals.aux_loss, cut.totals.aux_loss);
    EXPECT_EQ(serial.totals.z_loss, cut.totals.z_loss);
    EXPECT_EQ(serial.totals.dropped_choices, cut.totals.dropped_choices);
  }
}

TEST(Router, RoutesATokenAlikeWhateverElseIsInADroplessBatch) {
  Random random(3);
  MoEConfig config;
  config.routing_policy = RoutingPolicy::kTopkRouterV2;
  config.expert_num = 20;
  config.num_experts_chosen = 4;
  config.capacity_factor = 0.0;
  const std::vector<float> logits = grid_logits(random, 33 * 20, 1000, 0.003f);
  const RoutingResult all = run_router(config, logits);
  for (int64_t token = 0; token < 33; ++token) {
    const RoutingResult alone =
        run_router(config, std::vector<float>(logits.begin() + token * 20, logits.begin() + (token + 1) * 20));
    EXPECT_EQ(std::memcmp(alone.experts.data(), all.experts.data() + token * 4, 16), 0);
    EXPECT_EQ(std::memcmp(alone.weights.data(), all.weights.data() + token * 4, 16), 0);
  }
}

TEST(Router, AcceptsASingleExpert) {
  for (const RoutingPolicy policy : {RoutingPolicy::kTopkRouterV1, RoutingPolicy::kTopkRouterV2}) {
    MoEConfig config;
    config.routing_policy = policy;
    const RoutingResult result = run_router(config, {4, -2, 0});
    EXPECT_EQ(result.experts, (std::vector<int32_t>{0, 0, 0}));
    EXPECT_EQ(result.weights, (std::vector<float>{1.0f, 1.0f, 1.0f}));
  }
}

}  // namespace
}  // namespace moe::test
