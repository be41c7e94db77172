// Calls of CANN that fail: the error says which and why, nothing leaks, and the next call works.
#include <set>

#include "ascend/backend/on_both.h"
#include "ascend/backend/simulator.h"
#include "core/error.h"

namespace moe::test {
namespace {

constexpr int kBadAlloc = 200000, kRuntimeFailure = 500003;

RandomLayer small_layer() {
  return RandomLayer({.hidden = 32, .intermediate = 32, .experts = 4, .top_k = 2, .shared = 8, .held = best_held()});
}

// Fails the first, second, ... call of `function` while `work` runs, until `work` makes fewer calls than that.
// Returns the codes that came of it.
template <class Work>
std::set<ErrorCode> fail_each(const std::string& function, int status, Work work) {
  std::set<ErrorCode> codes;
  for (int nth = 1; nth < 200; ++nth) {
    simulator::reset();
    simulator::fail(function, nth, status);
    try {
      work();
      simulator::reset();
      return codes;
    } catch (const Error& error) {
      codes.insert(error.code());
      EXPECT_NE(std::string(error.what()).find(std::to_string(status)), std::string::npos) << error.what();
    }
  }
  ADD_FAILURE() << function << " is called without end";
  return codes;
}

TEST(Failure, NoMemoryAnywhereIsAnError) {
  const RandomLayer random = small_layer();
  const std::vector<float> hidden = RandomLayer(small_layer()).hidden(9);
  const auto codes = fail_each("aclrtMalloc", kBadAlloc, [&] {
    ascend::AscendDevice npu(0);
    forward(npu, make_layer(npu, random), hidden);
  });
  EXPECT_EQ(codes, std::set{ErrorCode::kOutOfMemory});
}

TEST(Failure, NoPinnedMemoryAnywhereIsAnError) {
  const RandomLayer random = small_layer();
  const std::vector<float> hidden = RandomLayer(small_layer()).hidden(9);
  fail_each("aclrtMallocHost", kBadAlloc, [&] {
    ascend::AscendDevice npu(0);
    forward(npu, make_layer(npu, random), hidden);
  });
}

TEST(Failure, AnOperatorThatFailsLeavesTheLayerUsable) {
  const RandomLayer random = small_layer();
  const std::vector<float> hidden = RandomLayer(small_layer()).hidden(9);
  ascend::AscendDevice npu(0);
  const Layer layer = make_layer(npu, random);
  const std::vector<float> before = forward(npu, layer, hidden).output;
  const std::string matmul =
      ascend::cann_library().operators.grouped_matmul_v5 ? "aclnnGroupedMatmulV5" : "aclnnGroupedMatmulV4";
  const std::vector<std::string> functions{matmul + "GetWorkspaceSize", matmul, "aclnnMoeFinalizeRoutingV2",
                                           "aclrtMemcpyAsync", "aclrtSynchronizeStream"};
  for (const std::string& function : functions) {
    const auto codes = fail_each(function, kRuntimeFailure, [&] { forward(npu, layer, hidden); });
    EXPECT_EQ(codes, std::set{ErrorCode::kDevice}) << function;
    EXPECT_EQ(forward(npu, layer, hidden).output, before) << function;
  }
}

TEST(Failure, ABatchThatDoesNotFitLeavesRoomForSmallerOnes) {
  RandomLayer random = small_layer();
  ascend::AscendDevice npu(0);
  const Layer layer = make_layer(npu, random);
  simulator::set_memory(4 << 20);
  try {
    forward(npu, layer, random.hidden(40000));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory) << error.what();
  }
  forward(npu, layer, random.hidden(9));
  simulator::set_memory(size_t{2} << 30);
}

TEST(Failure, ALostDeviceIsItsOwnError) {
  RandomLayer random = small_layer();
  ascend::AscendDevice npu(0);
  const Layer layer = make_layer(npu, random);
  forward(npu, layer, random.hidden(9));
  simulator::lose_device(3);
  for (int call = 0; call < 2; ++call) {
    try {
      forward(npu, layer, random.hidden(9));
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDeviceLost) << error.what();
    }
  }
}

TEST(Failure, AStoppedCallEndsAndTheNextWorks) {
  RandomLayer random = small_layer();
  ascend::AscendDevice npu(0);
  const Layer layer = make_layer(npu, random);
  const std::vector<float> hidden = random.hidden(9);
  std::vector<float> output(hidden.size());
  Workspace workspace(npu);
  std::stop_source stop;
  stop.request_stop();
  const HostBatch batch{hidden.data(), DType::kFloat32, 9};
  try {
    layer.forward(workspace, batch, {.output = output.data()}, stop.get_token());
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kAborted);
  }
  EXPECT_THROW(Layer(
                   npu, random.spec, random.host, [](int64_t, int64_t) {}, stop.get_token()),
               Error);
  layer.forward(workspace, batch, {.output = output.data()}, {});
  EXPECT_EQ(output, forward(npu, layer, hidden).output);
}

}  // namespace
}  // namespace moe::test
