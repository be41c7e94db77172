// One layer on several ranks gives what it gives on one, bit for bit.
#include <gtest/gtest.h>

#include <atomic>
#include <tuple>

#include "core/error.h"
#include "core/layer/layer.h"
#include "cpu/device.h"
#include "cpu/kernels.h"
#include "cpu/random_layer.h"
#include "fakes/thread_ranks.h"

namespace moe::test {
namespace {

constexpr auto ignore_progress = [](int64_t, int64_t) {};

struct Setting {
  int size = 2;
  int model_parallel = 1;
  int32_t chunks = 1;
  bool group_wise = false;
  std::vector<std::vector<int32_t>> experts_of_set = {};  // empty: consecutive experts

  int sets() const { return size / model_parallel; }
  Placement placement(int32_t experts) const {
    return experts_of_set.empty() ? Placement(experts, sets()) : Placement(experts, experts_of_set);
  }
};

struct Result {
  std::vector<float> output;
  std::vector<int32_t> expert_ids;
  int64_t dropped = 0;
  bool operator==(const Result&) const = default;
};

Result forward(const Layer& layer, Workspace& workspace, std::vector<float>& hidden, const LayerSpec& spec) {
  const auto tokens = static_cast<int64_t>(hidden.size()) / spec.hidden_size;
  Result result{std::vector<float>(hidden.size()), std::vector<int32_t>(tokens * spec.moe.num_experts_chosen)};
  RoutingTotals totals{};
  ForwardOutput out;
  float nothing;  // even an empty batch has somewhere to go
  out.output = tokens > 0 ? result.output.data() : &nothing;
  out.expert_ids = result.expert_ids.data();
  out.totals = &totals;
  layer.forward(workspace, {hidden.data(), DType::kFloat32, tokens}, out, {});
  result.dropped = totals.dropped_choices;
  return result;
}

LayerWeights held_by(const LayerWeights& all, std::span<const int32_t> experts) {
  LayerWeights held = all;
  held.experts.clear();
  for (const int32_t expert : experts) held.experts.push_back(all.experts[expert]);
  return held;
}

// Runs batches of so many tokens, one for each set, on all ranks, twice, and compares with a layer of one process.
void expect_same_as_one_process(RandomLayer& random, const Setting& setting, const std::vector<int64_t>& tokens,
                                ThreadRanks& ranks) {
  std::vector<std::vector<float>> batches;
  std::vector<Result> expected;
  {
    cpu::CpuDevice backend(cpu::choose_kernels(), 1);
    const Layer whole(backend, random.spec, random.host, ignore_progress, {});
    Workspace workspace(backend);
    for (int set = 0; set < setting.sets(); ++set) {
      batches.push_back(random.hidden(tokens[set % tokens.size()]));
      expected.push_back(forward(whole, workspace, batches.back(), random.spec));
    }
  }
  SCOPED_TRACE(testing::Message() << setting.size << " ranks, model parallel " << setting.model_parallel << ", "
                                  << setting.chunks << " chunks" << (setting.group_wise ? ", group-wise" : ""));
  ThreadRanks::run(setting.size, [&](int rank) {
    cpu::CpuDevice backend(cpu::choose_kernels(), 1);
    const GroupShape shape{rank, setting.size, setting.model_parallel};
    const auto group = std::make_shared<ExpertGroup>(ranks.join(rank), shape);
    const Placement placement = setting.placement(random.spec.moe.expert_num);
    const Layer layer(backend, random.spec, held_by(random.host, placement.experts_of(shape.set())), ignore_progress,
                      {}, ParallelOptions{group, placement, setting.chunks, setting.group_wise});
    Workspace workspace(backend);
    for (int repeat = 0; repeat < 2; ++repeat)
      EXPECT_TRUE(forward(layer, workspace, batches[shape.set()], random.spec) == expected[shape.set()])
          << "rank " << rank << " of " << setting.size << ", model parallel " << setting.model_parallel;
  });
}

void expect_same_as_one_process(RandomLayer& random, const Setting& setting, const std::vector<int64_t>& tokens) {
  ThreadRanks ranks(setting.size);
  expect_same_as_one_process(random, setting, tokens, ranks);
}

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const auto& [size, model_parallel] :
       {std::pair{1, 1}, {2, 1}, {3, 1}, {4, 1}, {8, 1}, {2, 2}, {4, 2}, {6, 2}, {8, 4}, {3, 3}})
    for (const int32_t chunks : {1, 3})
      for (const bool group_wise : {false, true})
        if (!group_wise || model_parallel > 1) all.push_back({size, model_parallel, chunks, group_wise});
  return all;
}

TEST(Ranks, GiveWhatOneProcessGives) {
  RandomLayer random({.hidden = 37, .intermediate = 22, .experts = 8, .top_k = 3, .biases = true});
  for (const Setting& setting : settings()) expect_same_as_one_process(random, setting, {13, 0, 1, 40});
}

TEST(Ranks, GiveWhatOneProcessGivesWithBFloat16WeightsAndASharedExpert) {
  RandomLayer random({.hidden = 20,
                      .intermediate = 9,
                      .experts = 12,
                      .top_k = 5,
                      .shared = 7,
                      .held = {WeightType::kBFloat16},
                      .shared_gate = true});
  for (const Setting& setting : settings()) expect_same_as_one_process(random, setting, {5, 17, 0});
}

TEST(Ranks, GiveWhatOneProcessGivesWithQuantisedWeights) {
  for (const auto& [type, group] : {std::pair{WeightType::kInt8, 0}, {WeightType::kInt4, 32}}) {
    RandomLayer random({.hidden = 40, .intermediate = 36, .experts = 8, .top_k = 2, .held = {type, group}});
    for (const Setting& setting : settings()) expect_same_as_one_process(random, setting, {9, 2});
  }
}

TEST(Ranks, GiveWhatOneProcessGivesWithALatentSize) {
  RandomLayer random({.hidden = 37,
                      .intermediate = 22,
                      .experts = 8,
                      .top_k = 3,
                      .shared = 11,
                      .latent = 13,
                      .activation = Activation::kReLU2,
                      .biases = true});
  for (const Setting& setting : settings()) expect_same_as_one_process(random, setting, {13, 0, 1, 40});
}

TEST(Ranks, DropWhatOneProcessDrops) {
  for (const RoutingPolicy policy : {RoutingPolicy::kTopkRouterV1, RoutingPolicy::kTopkRouterV2})
    for (const bool sdrop : {false, true}) {
      RandomLayer random({.hidden = 16, .intermediate = 10, .experts = 8, .top_k = 2});
      random.spec.moe.routing_policy = policy;
      random.spec.moe.capacity_factor = 1.0;
      random.spec.moe.enable_sdrop = sdrop;
      random.spec.moe.tokens_per_group = 16;
      for (const Setting& setting : settings()) expect_same_as_one_process(random, setting, {40, 3, 0, 16});
    }
}

TEST(Ranks, RunEdgeCases) {
  for (const auto& [experts, top_k] : {std::pair{8, 8}, {8, 1}, {64, 2}, {9, 9}}) {
    RandomLayer random({.hidden = 5, .intermediate = 4, .experts = experts, .top_k = top_k});
    for (const Setting& setting : settings())
      for (const std::vector<int64_t>& tokens : {std::vector<int64_t>{0}, {1}, {2, 0}, {0, 0, 7}})
        expect_same_as_one_process(random, setting, tokens);
  }
}

TEST(Ranks, ServeExpertsFromReplicas) {
  RandomLayer random({.hidden = 16, .intermediate = 8, .experts = 5, .top_k = 2});
  expect_same_as_one_process(random, {.size = 3, .experts_of_set = {{0, 3}, {1, 0, 4}, {2, 3, 0}}}, {21, 4});
  expect_same_as_one_process(random, {.size = 4, .model_parallel = 2, .experts_of_set = {{4, 1, 0}, {0, 1, 2, 3}}},
                             {21, 4});
  expect_same_as_one_process(random, {.size = 4, .experts_of_set = {{0, 3}, {1, 0, 4}, {2, 3, 0}, {4}}}, {21, 4});
}

// Each rank takes its experts out of what one process packed for all.
TEST(Ranks, UseTheirPartOfPackedWeights) {
  for (const Held held : kEveryHeld) {
    RandomLayer random(
        {.hidden = 40, .intermediate = 36, .experts = 6, .top_k = 2, .shared = 20, .latent = 24, .held = held});
    cpu::CpuDevice backend(cpu::choose_kernels(), 1);
    const Layer whole(backend, random.spec, random.host, ignore_progress, {});
    LayerWeights packed;
    packed.packed = whole.packed();
    std::vector<float> hidden = random.hidden(11);
    Workspace workspace(backend);
    const Result expected = forward(whole, workspace, hidden, random.spec);
    ThreadRanks ranks(2);
    ThreadRanks::run(2, [&](int rank) {
      cpu::CpuDevice own(cpu::choose_kernels(), 1);
      const auto group = std::make_shared<ExpertGroup>(ranks.join(rank), GroupShape{rank, 2, 1});
      const Placement placement(6, {{5, 0, 3, 1}, {4, 2}});
      std::vector<float> batch = hidden;
      const Layer layer(own, random.spec, packed, ignore_progress, {}, ParallelOptions{group, placement});
      Workspace place(own);
      EXPECT_TRUE(forward(layer, place, batch, random.spec) == expected);
      EXPECT_LT(layer.weight_bytes(), whole.weight_bytes());
      EXPECT_TRUE(layer.packed().parts.empty());
    });
  }
}

TEST(Ranks, RefusePackedWeightsInSets) {
  RandomLayer random({.hidden = 8, .intermediate = 8, .experts = 4, .top_k = 2});
  cpu::CpuDevice backend(cpu::choose_kernels(), 1);
  const Layer whole(backend, random.spec, random.host, ignore_progress, {});
  LayerWeights packed;
  packed.packed = whole.packed();
  ThreadRanks ranks(2);
  ThreadRanks::run(2, [&](int rank) {
    cpu::CpuDevice own(cpu::choose_kernels(), 1);
    const auto group = std::make_shared<ExpertGroup>(ranks.join(rank), GroupShape{rank, 2, 2});
    try {
      const Layer layer(own, random.spec, packed, ignore_progress, {}, ParallelOptions{group, Placement(4, 1)});
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kConfig);
    }
  });
}

TEST(Ranks, KeepNaNInTheTokenItCameFrom) {
  RandomLayer random({.hidden = 8, .intermediate = 8, .experts = 4, .top_k = 2});
  ThreadRanks ranks(2);
  ThreadRanks::run(2, [&](int rank) {
    cpu::CpuDevice backend(cpu::choose_kernels(), 1);
    const auto group = std::make_shared<ExpertGroup>(ranks.join(rank), GroupShape{rank, 2, 1});
    const Placement placement(4, 2);
    const Layer layer(backend, random.spec, held_by(random.host, placement.experts_of(rank)), ignore_progress, {},
                      ParallelOptions{group, placement});
    Workspace workspace(backend);
    std::vector<float> hidden(24, 0.5f);
    hidden[9] = NAN;
    const Result result = forward(layer, workspace, hidden, random.spec);
    for (int i = 0; i < 24; ++i) EXPECT_EQ(std::isnan(result.output[i]), i / 8 == 1) << i;
  });
}

// Rows are 16 floats. Each token takes all 8 experts: 4 on each of 2 ranks, so a row for each choice would be 4 rows.
TEST(Ranks, SendATokenOnceToEachRankThatServesIt) {
  RandomLayer random({.hidden = 16, .intermediate = 8, .experts = 8, .top_k = 8});
  ThreadRanks ranks(2);
  expect_same_as_one_process(random, {.size = 2}, {10}, ranks);
  const size_t announcement = 64 + 512, row = 16 * 4, ids = 3 * row;  // 10 rows' 4 experts fill 3 rows
  const size_t there = 10 * row + ids, back = 40 * row;
  EXPECT_LE(ranks.bytes(0, 1), 2 * (there + back) + 3 * announcement);
  EXPECT_EQ(ranks.messages(0, 1), 1u + 2 * 3) << "the layer's description; then for each call counts, rows, results";
}

TEST(Ranks, SendRowsOfTheLatentSize) {
  size_t bytes[2];
  for (const int32_t latent : {0, 32}) {
    RandomLayer random({.hidden = 256, .intermediate = 8, .experts = 4, .top_k = 2, .latent = latent});
    ThreadRanks ranks(2);
    expect_same_as_one_process(random, {.size = 2}, {128}, ranks);
    bytes[latent > 0] = ranks.bytes(0, 1);
  }
  EXPECT_LT(bytes[1], bytes[0] / 6);
}

TEST(Ranks, SendTheirSliceOnlyWhenGroupWise) {
  RandomLayer random({.hidden = 512, .intermediate = 8, .experts = 4, .top_k = 1});
  size_t across[2];
  for (const bool group_wise : {false, true}) {
    ThreadRanks ranks(4);
    expect_same_as_one_process(random, {.size = 4, .model_parallel = 2, .group_wise = group_wise}, {256}, ranks);
    across[group_wise] = ranks.bytes(0, 2) + ranks.bytes(1, 3);
    EXPECT_EQ(ranks.messages(0, 3), ranks.messages(1, 2));
  }
  EXPECT_NEAR(static_cast<double>(across[1]) / static_cast<double>(across[0]), 0.5, 0.05);
}

TEST(Ranks, RefuseLayersThatDiffer) {
  ThreadRanks ranks(2);
  std::atomic<int> refused{0};
  ThreadRanks::run(2, [&](int rank) {
    RandomLayer random({.hidden = 8, .intermediate = 8, .experts = 4, .top_k = 2});
    cpu::CpuDevice backend(cpu::choose_kernels(), 1);
    const auto group = std::make_shared<ExpertGroup>(ranks.join(rank), GroupShape{rank, 2, 1});
    const Placement placement(4, 2);
    // The texts are of different lengths, both longer than one message.
    const std::string facts = std::string(400, 'a') + "=1\nb=" + std::string(rank == 0 ? 1 : 300, 'x') + "\nc=2\n";
    try {
      const Layer layer(backend, random.spec, held_by(random.host, placement.experts_of(rank)), ignore_progress, {},
                        ParallelOptions{.group = group, .placement = placement, .facts = facts});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kConfig);
      EXPECT_NE(std::string(error.what()).find("`b` is `x"), std::string::npos) << error.what();
      ++refused;
    }
  });
  EXPECT_EQ(refused, 2);
}

TEST(Ranks, SumTheLoadOverOneMemberOfEachSet) {
  RandomLayer random({.hidden = 8, .intermediate = 8, .experts = 300, .top_k = 2});
  ThreadRanks ranks(4);
  ThreadRanks::run(4, [&](int rank) {
    cpu::CpuDevice backend(cpu::choose_kernels(), 1);
    const GroupShape shape{rank, 4, 2};
    const auto group = std::make_shared<ExpertGroup>(ranks.join(rank), shape);
    const Placement placement(300, 2);
    const Layer layer(backend, random.spec, held_by(random.host, placement.experts_of(shape.set())), ignore_progress,
                      {}, ParallelOptions{group, placement});
    std::vector<double> load(300);
    for (int expert = 0; expert < 300; ++expert) load[expert] = expert + 1000 * shape.set();
    layer.sum_over_group(load);
    for (int expert = 0; expert < 300; ++expert) EXPECT_EQ(load[expert], 2 * expert + 1000);
  });
}

TEST(Ranks, FailTogether) {
  RandomLayer random({.hidden = 8, .intermediate = 8, .experts = 4, .top_k = 2});
  ThreadRanks ranks(3);
  std::atomic<int> lost{0};
  ThreadRanks::run(3, [&](int rank) {
    cpu::CpuDevice backend(cpu::choose_kernels(), 1);
    const auto group = std::make_shared<ExpertGroup>(ranks.join(rank), GroupShape{rank, 3, 1});
    const Placement placement(4, 3);
    const Layer layer(backend, random.spec, held_by(random.host, placement.experts_of(rank)), ignore_progress, {},
                      ParallelOptions{group, placement});
    if (rank == 1) return;  // leaves
    Workspace workspace(backend);
    std::vector<float> hidden(16, 0.5f);
    for (int call = 0; call < 2; ++call) try {
        forward(layer, workspace, hidden, random.spec);
        ADD_FAILURE() << "nothing was thrown";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kPeerLost) << error.what();
        ++lost;
      }
  });
  EXPECT_EQ(lost, 4);
}

}  // namespace
}  // namespace moe::test
