// Every method of a device fails in turn: the error comes through, nothing leaks, the peers are told, and what is tried
// again works.
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>

#include "core/layer/layer.h"
#include "fakes/failing_device.h"
#include "fakes/small_layer.h"
#include "fakes/thread_ranks.h"

namespace moe::test {
namespace {

// Fails the n-th call of a method from now on, and counts what is allocated.
class Broken final : public FailingDevice {
 public:
  Broken() : FailingDevice([this](const std::string& call) { return call == failing && ++calls == nth; }) {}
  void* allocate(size_t bytes) override {
    void* const memory = FailingDevice::allocate(bytes);
    ++held;
    return memory;
  }
  void deallocate(void* memory) noexcept override {
    --held;
    FailingDevice::deallocate(memory);
  }
  void fail(const std::string& call, int which) { failing = call, calls = 0, nth = which; }

  std::string failing;
  int calls = 0, nth = 0, held = 0;
};

ErrorCode code_of(const std::string& call) { return call == "allocate" ? ErrorCode::kOutOfMemory : ErrorCode::kDevice; }

bool is_of_ranks(const std::string& call) {
  return call == "gather" || call == "place_columns" || call == "connect" || call == "plan_choices" ||
         call.starts_with("run_up") || call.starts_with("run_down");
}

TEST(Failure, OfEveryMethodComesThroughAndLeavesTheDeviceUsable) {
  const SmallLayer small(3);
  HostDevice whole;
  const std::vector<float> expected = small.forward(whole);
  for (const std::string call : kFailing) {
    if (is_of_ranks(call)) continue;
    Broken device;
    for (int nth = 1;; ++nth) {
      SCOPED_TRACE(call + " " + std::to_string(nth));
      device.fail(call, nth);
      try {
        EXPECT_EQ(small.forward(device), expected);
        EXPECT_GT(nth, 1) << "it is never called";
        break;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), code_of(call)) << error.what();
      }
      EXPECT_EQ(device.held, 0) << "nothing leaks";
    }
  }
}

TEST(Failure, OfACallLeavesTheLayerUsable) {
  const SmallLayer small(3);
  Broken device;
  const Layer layer(device, small.spec, small.weights, [](int64_t, int64_t) {}, {});
  const std::vector<float> hidden{1.0f, -0.5f, 0.25f, 2.0f, -1.0f, -1.0f};
  std::vector<float> output(6), first;
  for (const std::string call :
       {"upload", "route", "plan", "run", "run_shared", "combine", "linear", "download", "synchronize"}) {
    SCOPED_TRACE(call);
    Workspace workspace(device);
    const auto forward = [&] {
      layer.forward(workspace, {hidden.data(), DType::kFloat32, 3}, {.output = output.data()}, {});
    };
    device.fail(call, 1);
    EXPECT_THROW(forward(), Error);
    forward();
    if (first.empty()) first = output;
    EXPECT_EQ(output, first);
  }
}

// What rank 0 was told, and what its peer was; empty where the layer was made and run.
struct Outcome {
  std::optional<ErrorCode> own, peer;
};

Outcome run_ranks(const SmallLayer& small, int model_parallel, const std::string& call, int nth) {
  ThreadRanks ranks(2);
  std::optional<ErrorCode> codes[2];
  std::atomic<int> held{0};
  ThreadRanks::run(2, [&](int rank) {
    Broken device;
    if (rank == 0) device.fail(call, nth);
    try {
      const GroupShape shape{.rank = rank, .size = 2, .model_parallel = model_parallel};
      const Placement placement(SmallLayer::kExperts, shape.sets());
      LayerWeights own = small.weights;
      own.experts.clear();
      for (const int32_t expert : placement.experts_of(shape.set()))
        own.experts.push_back(small.weights.experts[expert]);
      const Layer layer(
          device, small.spec, own, [](int64_t, int64_t) {}, {},
          ParallelOptions{std::make_shared<ExpertGroup>(ranks.join(rank), shape), placement, 2, true});
      Workspace workspace(device);
      const std::vector<float> hidden{1.0f, -0.5f, 0.25f, 2.0f, -1.0f, -1.0f};
      std::vector<float> output(hidden.size());
      layer.forward(workspace, {hidden.data(), DType::kFloat32, 3}, {.output = output.data()}, {});
    } catch (const Error& error) {
      codes[rank] = error.code();
    }
    held += device.held;
  });
  EXPECT_EQ(held, 0) << "nothing leaks";
  return {codes[0], codes[1]};
}

TEST(Failure, OfEveryMethodOnARankIsToldToItsPeers) {
  const SmallLayer small(3);
  for (const int model_parallel : {1, 2})
    for (const std::string call : kFailing) {
      if (call == "plan") continue;  // choices come from the host
      if (model_parallel == 1 && (call == "place_columns" || call.starts_with("run_up") || call == "run_down"))
        continue;
      if (model_parallel == 2 && call == "run") continue;
      SCOPED_TRACE(call + ", model parallel " + std::to_string(model_parallel));
      const Outcome first = run_ranks(small, model_parallel, call, 1);
      EXPECT_EQ(first.own, code_of(call));
      EXPECT_TRUE(first.peer == ErrorCode::kPeerLost || first.peer == std::nullopt)
          << "a peer that waits is told; one that has all it needs ends";
    }
}

}  // namespace
}  // namespace moe::test
