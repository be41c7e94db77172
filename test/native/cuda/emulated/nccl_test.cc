// Ranks on the emulated device whose rows travel by a stand-in for NCCL.
#include "cuda/nccl.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>

#include "core/error.h"
#include "cuda/check.h"
#include "cuda/device.h"
#include "cuda/emulated/harness.h"
#include "fakes/consecutive.h"
#include "fakes/thread_ranks.h"

namespace moe::test {
namespace {

class Pinned {
 public:
  explicit Pinned(size_t bytes) { cudaMallocHost(&memory, bytes); }
  ~Pinned() { cudaFreeHost(memory); }
  void* memory = nullptr;
};

void to_host(void* host, const void* device, size_t bytes, void* stream) {
  cudaSetDevice(0);
  const Pinned pinned(bytes);
  cudaMemcpyAsync(pinned.memory, device, bytes, cudaMemcpyDeviceToHost, static_cast<cudaStream_t>(stream));
  cudaStreamSynchronize(static_cast<cudaStream_t>(stream));
  std::memcpy(host, pinned.memory, bytes);
}

void to_device(void* device, const void* host, size_t bytes, void* stream) {
  cudaSetDevice(0);
  const Pinned pinned(bytes);
  std::memcpy(pinned.memory, host, bytes);
  cudaMemcpyAsync(device, pinned.memory, bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream));
  cudaStreamSynchronize(static_cast<cudaStream_t>(stream));
}

class NcclRanks : public testing::Test {
 protected:
  NcclRanks() {
    void* const library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) throw std::runtime_error(dlerror());
    using Use = void(decltype(&to_host), decltype(&to_device));
    reinterpret_cast<Use*>(dlsym(library, "fake_nccl_use"))(to_host, to_device);
  }

  static LayerWeights held_by(const LayerWeights& all, std::span<const int32_t> experts) {
    LayerWeights held = all;
    held.experts.clear();
    for (const int32_t expert : experts) held.experts.push_back(all.experts[expert]);
    return held;
  }
};

TEST_F(NcclRanks, GiveWhatOneDeviceGives) {
  ASSERT_NE(cuda::nccl(), nullptr);
  RandomLayer random({.hidden = 32, .intermediate = 32, .experts = 4, .top_k = 2, .held = {WeightType::kBFloat16}});
  std::vector<std::vector<float>> batches{random.hidden(5), random.hidden(0), random.hidden(9)};
  std::vector<LayerResult> expected;
  for (const std::vector<float>& batch : batches)
    expected.push_back(batch.empty() ? LayerResult{} : forward_on_cuda(random, batch));
  ThreadRanks ranks(3);
  ThreadRanks::run(3, [&](int rank) {
    cuda::CudaDevice backend(0);
    const auto group = std::make_shared<ExpertGroup>(ranks.join(rank), GroupShape{rank, 3, 1});
    const Placement placement = consecutive(4, 3);
    const Layer layer(
        backend, random.spec, held_by(random.host, placement.experts_of(rank)), [](int64_t, int64_t) {}, {},
        ParallelOptions{group, placement, 2});
    Workspace workspace(backend);
    for (int round = 0; round < 2; ++round) {
      std::vector<float> padded = batches[rank];
      const auto tokens = static_cast<int64_t>(padded.size()) / 32;
      padded.resize(padded.size() + 1);
      std::vector<float> output(padded.size());
      ForwardOutput out;
      out.output = output.data();
      layer.forward(workspace, {padded.data(), DType::kFloat32, tokens}, out, {});
      output.pop_back();
      EXPECT_EQ(output, expected[rank].output) << "rank " << rank;
    }
  });
  // Announcements only: a description and two calls. Rows went by NCCL.
  EXPECT_EQ(ranks.messages(0, 1), 1u + 1u + 2u);
}

class CountingCuda final : public cuda::CudaDevice {
 public:
  using CudaDevice::CudaDevice;
  void upload(void* device, const void* host, size_t bytes) override {
    moved += bytes;
    CudaDevice::upload(device, host, bytes);
  }
  void download(void* host, const void* device, size_t bytes) override {
    moved += bytes;
    CudaDevice::download(host, device, bytes);
  }
  size_t moved = 0;
};

TEST_F(NcclRanks, MoveNoRowThroughTheHost) {
  RandomLayer random({.hidden = 128, .intermediate = 32, .experts = 4, .top_k = 2, .held = {WeightType::kBFloat16}});
  const std::vector<float> batch = random.hidden(40);
  ThreadRanks ranks(2);
  ThreadRanks::run(2, [&](int rank) {
    CountingCuda device(0);
    const Placement placement = consecutive(4, 2);
    const auto group = std::make_shared<ExpertGroup>(ranks.join(rank), GroupShape{rank, 2, 1});
    const Layer layer(
        device, random.spec, held_by(random.host, placement.experts_of(rank)), [](int64_t, int64_t) {}, {},
        ParallelOptions{group, placement, 2});
    Workspace workspace(device);
    device.moved = 0;
    forward(layer, workspace, random.spec, batch);
    // The batch, its output, and numbers: rows that went by the host would be two batches more at least.
    EXPECT_LT(device.moved, 3 * batch.size() * sizeof(float));
  });
}

TEST_F(NcclRanks, HearOfALostPeer) {
  ThreadRanks ranks(2);
  std::atomic<int> lost{0};
  ThreadRanks::run(2, [&](int rank) {
    const std::unique_ptr<Collective> host = ranks.join(rank);
    cuda::CudaDevice backend(0);
    const std::unique_ptr<Collective> nccl = backend.connect(*host);
    ASSERT_NE(nccl, nullptr);
    if (rank == 1) return;
    void* const memory = backend.allocate(64);
    const std::vector<Transfer> from{{1, 0, 64}};
    try {
      nccl->wait(nccl->start(nullptr, {}, memory, from));
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kPeerLost) << error.what();
      ++lost;
    }
    nccl->abort();
    EXPECT_THROW(nccl->start(nullptr, {}, memory, from), Error);
    backend.deallocate(memory);
  });
  EXPECT_EQ(lost, 1);
}

}  // namespace
}  // namespace moe::test
