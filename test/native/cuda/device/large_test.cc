// Sizes of real models, where every tile is full and every multiprocessor has work: for a device only.
#include <cmath>
#include <list>

#include "cuda/device/device_case.h"

namespace moe::test {
namespace {

class CudaLarge : public OnDevice {
 protected:
  // Against the CPU's output, which other tests hold to the reference.
  void expect_cpu(const LayerOptions& options, int64_t tokens) {
    SCOPED_TRACE("T " + std::to_string(tokens) + " weights " + std::to_string(static_cast<int>(options.held.type)));
    RandomLayer layer(options);
    const std::vector<float> hidden = layer.hidden(tokens);
    cpu::CpuDevice all_threads(cpu::choose_kernels(), 16);
    const LayerResult result = LayerOn(cuda(), layer).run(hidden), host = LayerOn(all_threads, layer).run(hidden);
    EXPECT_EQ(result.experts, host.experts);
    EXPECT_EQ(result.weights, host.weights);
    EXPECT_EQ(result.load, host.load);
    const std::vector<double> expected(host.output.begin(), host.output.end());
    const double error = relative_error(result.output, expected);
    EXPECT_FALSE(!(error <= tolerance_of(options.held.type))) << "relative error " << error;
  }
};

TEST_F(CudaLarge, AgreesWithTheCpu) {
  for (const Held& held : {Held{WeightType::kFloat32}, Held{WeightType::kBFloat16}, Held{WeightType::kFloat16},
                           Held{WeightType::kInt8, 128}, Held{WeightType::kInt4, 32}})
    expect_cpu({.hidden = 768,
                .intermediate = 512,
                .experts = 16,
                .top_k = 4,
                .shared = 256,
                .held = held,
                .shared_gate = true},
               1500);
  expect_cpu({.hidden = 512, .intermediate = 256, .experts = 128, .top_k = 8, .held = {WeightType::kBFloat16}}, 5000);
}

TEST_F(CudaLarge, GivesATokenTheSameBitsInAnyBatch) {
  constexpr int64_t kHidden = 768, kTokens = 2000;
  for (const Held& held : {Held{WeightType::kFloat32}, Held{WeightType::kBFloat16}, Held{WeightType::kFloat16},
                           Held{WeightType::kInt8, 128}, Held{WeightType::kInt4, 32}}) {
    RandomLayer layer({.hidden = kHidden, .intermediate = 512, .experts = 8, .top_k = 2, .held = held});
    LayerOn device(cuda(), layer);
    const std::vector<float> hidden = layer.hidden(kTokens);
    const std::vector<float> whole = device.run(hidden).output;
    int64_t first = 0;
    for (const int64_t size : {1, 8, 9, 32, 33, 128, 500, 1000}) {
      const std::vector<float> part(hidden.begin() + first * kHidden, hidden.begin() + (first + size) * kHidden);
      int64_t different = 0;
      const std::vector<float> output = device.run(part).output;
      for (size_t i = 0; i < output.size(); ++i) different += output[i] != whole[first * kHidden + i];
      EXPECT_EQ(different, 0) << "of " << output.size() << " values of " << size << " tokens alone, weights "
                              << static_cast<int>(held.type);
      first += size;
    }
  }
}

TEST_F(CudaLarge, SaysThatItIsOutOfMemoryForALargeBatchAndGoesOnWithSmallerOnes) {
  RandomLayer layer({.hidden = 64, .intermediate = 32, .experts = 4, .top_k = 2, .held = {WeightType::kBFloat16}});
  LayerOn device(cuda(), layer);
  const std::vector<float> hidden = layer.hidden(100);
  const LayerResult before = device.run(hidden);
  std::list<DeviceBuffer> taken;  // all but little of the device's memory
  for (size_t bytes = size_t{1} << 36; bytes >= size_t{1} << 24; bytes /= 2)
    for (bool fits = true; fits;) {
      try {
        taken.emplace_back(cuda()).reserve<std::byte>(bytes);
      } catch (const Error& error) {
        ASSERT_EQ(error.code(), ErrorCode::kOutOfMemory);
        fits = false;
      }
    }
  try {
    device.run(layer.hidden(500'000));
    ADD_FAILURE() << "the batch fitted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory) << error.what();
  }
  EXPECT_EQ(device.run(hidden).output, before.output);
}

}  // namespace
}  // namespace moe::test
