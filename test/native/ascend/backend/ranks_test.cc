// Layers whose experts are spread over NPUs.
#include "ascend/backend/on_both.h"
#include "core/error.h"
#include "core/ranks/expert_parallel.h"
#include "fakes/thread_ranks.h"

namespace moe::test {
namespace {

// The layer of one of two ranks.
Layer layer_of_rank(Device& npu, ThreadRanks& ranks, int rank, const RandomLayer& random) {
  const GroupShape shape{rank, 2, 1};
  const Placement placement(random.spec.moe.expert_num, shape.sets());
  LayerWeights held = random.host;
  held.experts.clear();
  for (const int32_t expert : placement.experts_of(shape.set())) held.experts.push_back(random.host.experts[expert]);
  return {npu,  random.spec,
          held, [](int64_t, int64_t) {},
          {},   ParallelOptions{std::make_shared<ExpertGroup>(ranks.join(rank), shape), placement, 2, true}};
}

Result forward_on_rank(ThreadRanks& ranks, int rank, const RandomLayer& random, const std::vector<float>& hidden) {
  ascend::AscendDevice npu(rank);
  return forward(npu, layer_of_rank(npu, ranks, rank, random), hidden);
}

void expect_as_on_cpu_over_ranks(RandomLayer& random, int64_t tokens) {
  const std::unique_ptr<Device> cpu = cpu::plugin().open(0);
  ThreadRanks ranks(2);
  std::vector<std::vector<float>> batches{random.hidden(tokens), random.hidden(tokens + 4)};
  const Layer whole = make_layer(*cpu, random);
  const std::vector<Result> expected{forward(*cpu, whole, batches[0]), forward(*cpu, whole, batches[1])};
  std::vector<Result> actual(2);
  ThreadRanks::run(2, [&](int rank) { actual[rank] = forward_on_rank(ranks, rank, random, batches[rank]); });
  for (int rank = 0; rank < 2; ++rank) expect_same(actual[rank], expected[rank], random.spec.weight_type);
}

TEST(Ranks, GiveWhatOneProcessGives) {
  RandomLayer random({.hidden = 48, .intermediate = 32, .experts = 8, .top_k = 3, .shared = 16, .held = best_held()});
  for (const int64_t tokens : {0, 1, 23}) expect_as_on_cpu_over_ranks(random, tokens);
}

TEST(Ranks, GiveWhatOneProcessGivesWithALatentSize) {
  RandomLayer random({.hidden = 48,
                      .intermediate = 32,
                      .experts = 8,
                      .top_k = 3,
                      .shared = 16,
                      .latent = 22,
                      .activation = Activation::kSiLU,
                      .held = best_held()});
  for (const int64_t tokens : {0, 23}) expect_as_on_cpu_over_ranks(random, tokens);
}

TEST(Ranks, DropWhatOneProcessDrops) {
  RandomLayer random({.hidden = 48, .intermediate = 32, .experts = 8, .top_k = 3, .held = best_held()});
  random.spec.moe.capacity_factor = 0.5;
  expect_as_on_cpu_over_ranks(random, 23);
}

TEST(Ranks, HoldWholeExpertsOnly) {
  RandomLayer random({.held = best_held()});
  ascend::AscendDevice npu(0);
  ThreadRanks ranks(2);
  const auto group = std::make_shared<ExpertGroup>(ranks.join(0), GroupShape{0, 2, 2});
  try {
    const Layer layer(
        npu, random.spec, random.host, [](int64_t, int64_t) {}, {}, ParallelOptions{group, Placement(4, 1)});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kConfig) << error.what();
  }
}

class CountingNpu final : public ascend::AscendDevice {
 public:
  using AscendDevice::AscendDevice;
  void upload(void* device, const void* host, size_t bytes) override {
    moved += bytes;
    AscendDevice::upload(device, host, bytes);
  }
  void download(void* host, const void* device, size_t bytes) override {
    moved += bytes;
    AscendDevice::download(host, device, bytes);
  }
  size_t moved = 0;
};

TEST(Ranks, MoveNoRowThroughTheHost) {
  RandomLayer random({.hidden = 128, .intermediate = 32, .experts = 8, .top_k = 3, .held = best_held()});
  const std::vector<float> batch = random.hidden(60);
  ThreadRanks ranks(2);
  ThreadRanks::run(2, [&](int rank) {
    CountingNpu npu(rank);
    const Layer layer = layer_of_rank(npu, ranks, rank, random);
    npu.moved = 0;
    forward(npu, layer, batch);
    // The batch, its output, and numbers: rows that went by the host would be two batches more at least.
    EXPECT_LT(npu.moved, 3 * batch.size() * sizeof(float));
  });
}

}  // namespace
}  // namespace moe::test
