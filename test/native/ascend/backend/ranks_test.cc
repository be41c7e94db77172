// Layers whose experts are spread over NPUs.
#include "ascend/backend/on_both.h"
#include "core/ranks/expert_parallel.h"
#include "fakes/thread_ranks.h"

namespace moe::test {
namespace {

// The layer of one of two ranks, forwarded there, each on a device of its own.
Result forward_on_rank(ThreadRanks& ranks, int rank, const RandomLayer& random, const std::vector<float>& hidden) {
  ascend::AscendDevice npu(rank);
  const GroupShape shape{rank, 2, 1};
  const Placement placement(random.spec.moe.expert_num, shape.sets());
  LayerWeights held = random.host;
  held.experts.clear();
  for (const int32_t expert : placement.experts_of(shape.set())) held.experts.push_back(random.host.experts[expert]);
  const Layer layer(
      npu, random.spec, held, [](int64_t, int64_t) {}, {},
      ParallelOptions{std::make_shared<ExpertGroup>(ranks.join(rank), shape), placement, 2, true});
  return forward(npu, layer, hidden);
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

TEST(Ranks, DropWhatOneProcessDrops) {
  RandomLayer random({.hidden = 48, .intermediate = 32, .experts = 8, .top_k = 3, .held = best_held()});
  random.spec.moe.capacity_factor = 0.5;
  expect_as_on_cpu_over_ranks(random, 23);
}

TEST(Ranks, HoldWholeExpertsOnly) {
  RandomLayer random({.held = best_held()});
  random.spec.intermediate_part = 8;
  ascend::AscendDevice npu(0);
  try {
    npu.prepare(random.spec, random.host, [](int64_t, int64_t) {}, {});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kConfig) << error.what();
  }
}

}  // namespace
}  // namespace moe::test
