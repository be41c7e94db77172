#include "core/ranks/rank_experts.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "fakes/consecutive.h"
#include "fakes/host_device.h"
#include "fakes/small_layer.h"
#include "fakes/thread_ranks.h"

namespace moe::test {
namespace {

// A device whose memory the core may not touch: everything goes by way of the host.
TEST(RankExperts, StagesTheBytesOfADeviceOnTheHost) {
  const SmallLayer small;
  HostDevice whole;
  const std::vector<float> expected = small.forward(whole);
  for (const auto& [size, model_parallel] : {std::pair{2, 1}, {4, 1}, {2, 2}, {4, 2}}) {
    ThreadRanks ranks(size);
    ThreadRanks::run(size, [&, size = size, model_parallel = model_parallel](int rank) {
      HostDevice backend;
      ASSERT_FALSE(backend.capabilities().host_memory);
      const GroupShape shape{rank, size, model_parallel};
      const Placement placement = consecutive(SmallLayer::kExperts, shape.sets());
      LayerWeights held = small.weights;
      held.experts.clear();
      for (const int32_t expert : placement.experts_of(shape.set()))
        held.experts.push_back(small.weights.experts[expert]);
      const Layer layer(
          backend, small.spec, held, [](int64_t, int64_t) {}, {},
          ParallelOptions{std::make_shared<ExpertGroup>(ranks.join(rank), shape), placement, 2, true});
      Workspace workspace(backend);
      const std::vector<float> hidden{1.0f, -0.5f, 0.25f, 2.0f, -1.0f, -1.0f};
      std::vector<float> output(hidden.size());
      ForwardOutput out;
      out.output = output.data();
      layer.forward(workspace, {hidden.data(), DType::kFloat32, 3}, out, {});
      EXPECT_EQ(output, expected);
    });
  }
}

TEST(RankExperts, RefusesASecondDeviceInAGroup) {
  ThreadRanks ranks(1);
  const auto group = std::make_shared<ExpertGroup>(ranks.join(0), GroupShape{});
  HostDevice first, second;
  {
    const ExpertGroup::Membership one(group, first), another(group, first);
    EXPECT_EQ(another.number(), 1u);
    EXPECT_THROW(group->expect_no_layers(), Error);
    try {
      const ExpertGroup::Membership elsewhere(group, second);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kConfig);
    }
  }
  group->expect_no_layers();
  const ExpertGroup::Membership afterwards(group, second);
}

}  // namespace
}  // namespace moe::test
