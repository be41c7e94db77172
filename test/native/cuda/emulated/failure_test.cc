// What the backend does when the runtime or the device fails.
#include "core/error.h"
#include "cuda/emulated/harness.h"

namespace moe::test {
namespace {

class CudaFailure : public OnEmulator {
 protected:
  CudaFailure() : random({.hidden = 64, .intermediate = 32, .experts = 4, .top_k = 2}) {}

  // The code of the moe::Error that `work` throws; fails the test where it throws none.
  template <class Work>
  static ErrorCode code_of(Work work) {
    try {
      work();
    } catch (const Error& error) {
      message() = error.what();
      return error.code();
    }
    ADD_FAILURE() << "no error";
    return ErrorCode::kInternal;
  }
  static std::string& message() {
    static std::string text;
    return text;
  }

  RandomLayer random;
};

// Every function in turn fails at its first, second, ... call: an error, no crash, no leak, and the next layer works.
TEST_F(CudaFailure, OfAnyCallIsAnErrorThatLeavesNothingBehind) {
  const std::vector<float> hidden = random.hidden(3);
  const LayerResult expected = forward_on_cuda(random, hidden);
  for (const char* function : {"cudaMalloc", "cudaHostAlloc", "cudaMemcpyAsync", "cudaStreamCreateWithFlags",
                               "cudaEventCreateWithFlags", "cudaEventRecord", "cudaEventSynchronize",
                               "cudaLaunchKernel", "cudaFuncSetAttribute", "cudaFuncGetAttributes"}) {
    int failed = 0;
    for (int call = 1; call <= 40; call += call < 6 ? 1 : 7) {
      device().fail(function, call, call % 2 ? cudaErrorMemoryAllocation : cudaErrorInvalidValue);
      try {
        EXPECT_EQ(forward_on_cuda(random, hidden).output, expected.output) << function << " " << call;
      } catch (const Error& error) {
        ++failed;
        EXPECT_TRUE(error.code() == ErrorCode::kOutOfMemory || error.code() == ErrorCode::kDevice ||
                    error.code() == ErrorCode::kDeviceUnavailable)
            << function << " " << call << ": " << error.what();
      }
      device().fail(function, 0, cudaSuccess);
    }
    EXPECT_GT(failed, 0) << function;
    for (const std::string& line : device().report()) ADD_FAILURE() << function << ": " << line;
  }
  EXPECT_EQ(forward_on_cuda(random, hidden).output, expected.output);
}

TEST_F(CudaFailure, OutOfMemoryLeavesTheLayerUsableForSmallerBatches) {
  cuda::CudaDevice backend(0);
  const Layer layer(backend, random.spec, random.host, [](int64_t, int64_t) {}, {});
  Workspace workspace(backend);
  const std::vector<float> small = random.hidden(2), large = random.hidden(300);
  const std::vector<float> expected = forward(layer, workspace, random.spec, small).output;
  for (int call = 1; call <= 3; ++call) {
    device().fail("cudaMalloc", call, cudaErrorMemoryAllocation);
    EXPECT_EQ(code_of([&] { forward(layer, workspace, random.spec, large); }), ErrorCode::kOutOfMemory);
    device().fail("cudaMalloc", 0, cudaSuccess);
    EXPECT_EQ(forward(layer, workspace, random.spec, small).output, expected) << call;
  }
  EXPECT_TRUE(difference(forward(layer, workspace, random.spec, large).output, forward_on_cpu(random, large).output) <=
              kTolerance);
}

TEST_F(CudaFailure, ALostDeviceIsAnErrorOfItsOwnAndStaysLost) {
  const std::vector<float> hidden = random.hidden(3);
  {
    cuda::CudaDevice backend(0);
    const Layer layer(backend, random.spec, random.host, [](int64_t, int64_t) {}, {});
    Workspace workspace(backend);
    forward(layer, workspace, random.spec, hidden);
    device().lose_after(2);
    EXPECT_EQ(code_of([&] { forward(layer, workspace, random.spec, hidden); }), ErrorCode::kDeviceLost);
    EXPECT_NE(message().find("cudaErrorLaunchFailure"), std::string::npos) << message();
    EXPECT_EQ(code_of([&] { forward(layer, workspace, random.spec, hidden); }), ErrorCode::kDeviceLost);
  }
  EXPECT_THROW(cuda::CudaDevice(0), Error);
  device().recover();
  device().reset();  // the report says why it was lost
  EXPECT_NO_THROW(forward_on_cuda(random, hidden));
}

}  // namespace
}  // namespace moe::test
