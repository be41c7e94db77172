// The stand-in of the CUDA runtime keeps the contract, and takes no more than the contract allows.
#include <cstring>

#include "cuda/emulated/harness.h"

namespace moe::test {
namespace {

class Runtime : public testing::Test {
 protected:
  void SetUp() override {
    device().reset();
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    ASSERT_EQ(cudaMalloc(&memory, kBytes), cudaSuccess);
    ASSERT_EQ(cudaHostAlloc(&pinned, kBytes, cudaHostAllocDefault), cudaSuccess);
  }
  void TearDown() override {
    cudaFree(memory);
    cudaFreeHost(pinned);
    cudaStreamDestroy(stream);
    device().recover();
    device().reset();
  }
  static emulator::Device& device() { return emulator::Device::instance(); }
  std::string report() {
    std::string text;
    for (const std::string& line : device().report()) text += line + "\n";
    return text;
  }

  static constexpr size_t kBytes = 64;
  cudaStream_t stream = nullptr;
  void *memory = nullptr, *pinned = nullptr;
};

TEST_F(Runtime, CopiesFromPinnedMemoryWhenTheirTurnComes) {
  std::memset(pinned, 1, kBytes);
  ASSERT_EQ(cudaMemcpyAsync(memory, pinned, kBytes, cudaMemcpyHostToDevice, stream), cudaSuccess);
  std::memset(pinned, 2, kBytes);  // too early: the copy has not read it
  char back[kBytes];
  ASSERT_EQ(cudaMemcpyAsync(back, memory, kBytes, cudaMemcpyDeviceToHost, stream), cudaSuccess);
  EXPECT_EQ(back[0], 2);
}

TEST_F(Runtime, ReadsPageableMemoryAtOnce) {
  char from[kBytes], back[kBytes];
  std::memset(from, 1, kBytes);
  ASSERT_EQ(cudaMemcpyAsync(memory, from, kBytes, cudaMemcpyHostToDevice, stream), cudaSuccess);
  std::memset(from, 2, kBytes);
  ASSERT_EQ(cudaMemcpyAsync(back, memory, kBytes, cudaMemcpyDeviceToHost, stream), cudaSuccess);
  EXPECT_EQ(back[0], 1);
}

TEST_F(Runtime, FillsPinnedMemoryNotBeforeSomebodyWaits) {
  char from[kBytes] = {7};
  ASSERT_EQ(cudaMemcpyAsync(memory, from, kBytes, cudaMemcpyHostToDevice, stream), cudaSuccess);
  std::memset(pinned, 0, kBytes);
  ASSERT_EQ(cudaMemcpyAsync(pinned, memory, kBytes, cudaMemcpyDeviceToHost, stream), cudaSuccess);
  EXPECT_NE(static_cast<char*>(pinned)[0], 0);  // what was there is gone, what shall come is not there
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  ASSERT_EQ(cudaEventSynchronize(event), cudaSuccess);
  EXPECT_EQ(static_cast<char*>(pinned)[0], 7);
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
}

TEST_F(Runtime, LosesTheDeviceOverBytesNobodyWrote) {
  char back[kBytes];
  EXPECT_EQ(cudaMemcpyAsync(back, memory, kBytes, cudaMemcpyDeviceToHost, stream), cudaErrorLaunchFailure);
  EXPECT_NE(report().find("nobody wrote"), std::string::npos) << report();
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
  EXPECT_NE(std::string(cudaGetErrorString(cudaErrorLaunchFailure)).find("nobody wrote"), std::string::npos);
}

TEST_F(Runtime, LosesTheDeviceOverACopyBeyondItsMemory) {
  char from[kBytes + 1] = {};
  EXPECT_EQ(cudaMemcpyAsync(memory, from, sizeof from, cudaMemcpyHostToDevice, stream), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
}

TEST_F(Runtime, ReportsMisuse) {
  EXPECT_EQ(cudaFree(pinned), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(memory), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpyAsync(memory, pinned, kBytes, cudaMemcpyDeviceToHost, stream), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  int nothing = 0;
  EXPECT_EQ(cudaLaunchKernel(&nothing, dim3(1), dim3(1), nullptr, 0, stream), cudaErrorInvalidDeviceFunction);
  EXPECT_EQ(cudaSetDevice(3), cudaErrorInvalidDevice);
  const std::string lines = report();
  EXPECT_EQ(std::ranges::count(lines, '\n'), 5 + 3) << lines;  // and what SetUp made is still there
}

TEST_F(Runtime, RefusesToWaitOrAllocateDuringCapture) {
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  void* more = nullptr;
  EXPECT_EQ(cudaMalloc(&more, 8), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
}

TEST_F(Runtime, RunsAGraphAsOftenAsItIsLaunched) {
  std::memset(pinned, 3, kBytes);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(memory, pinned, kBytes, cudaMemcpyHostToDevice, stream), cudaSuccess);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  ASSERT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  for (const char value : {4, 5}) {
    std::memset(pinned, value, kBytes);
    char back[kBytes];
    ASSERT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
    ASSERT_EQ(cudaMemcpyAsync(back, memory, kBytes, cudaMemcpyDeviceToHost, stream), cudaSuccess);
    EXPECT_EQ(back[9], value);
  }
  EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
}

TEST_F(Runtime, RunsOutOfMemory) {
  void* more = nullptr;
  EXPECT_EQ(cudaMalloc(&more, device().memory().capacity_bytes() + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMalloc(&more, 100), cudaSuccess);
  EXPECT_EQ(cudaFree(more), cudaSuccess);
}

}  // namespace
}  // namespace moe::test
