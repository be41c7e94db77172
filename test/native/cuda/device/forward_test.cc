// Whole layers on the device against the float64 reference.
#include <cmath>
#include <limits>

#include "cuda/device/device_case.h"

namespace moe::test {
namespace {

class CudaForward : public OnDevice {};

// Few rows per expert, several, and tiles of every height: 16, 32, 64 and 128.
constexpr int64_t kEveryPath[] = {1, 9, 33, 70, 150, 400};

TEST_F(CudaForward, MatchesTheReferenceOnSizesThatAreMultiplesOfNothing) {
  for (const int32_t hidden : {1, 3, 17, 32, 96, 130})
    for (const int32_t intermediate : {1, 5, 31, 257})
      for (const int64_t tokens : {3, 40})
        expect_reference(
            {.hidden = hidden, .intermediate = intermediate, .held = {WeightType::kBFloat16}, .biases = true}, tokens);
}

TEST_F(CudaForward, MatchesTheReferenceWithEveryWeightTypeOnEveryPath) {
  for (const Held& held : kEveryHeld)
    for (const int64_t tokens : kEveryPath)
      expect_reference({.hidden = 90, .intermediate = 75, .experts = 3, .held = held, .biases = true}, tokens);
}

TEST_F(CudaForward, MatchesTheReferenceWithALatentSize) {
  for (const Held held : kEveryHeld)
    for (const int32_t latent : {24, 131})
      for (const int64_t tokens : {1, 30, 300})
        expect_reference({.hidden = 66,
                          .intermediate = 37,
                          .shared = 20,
                          .latent = latent,
                          .activation = Activation::kReLU2,
                          .shared_activation = Activation::kGeGLUTanh,
                          .held = held},
                         tokens);
}

TEST_F(CudaForward, MatchesTheReferenceWithEveryActivation) {
  for (const Activation& activation : kEveryActivation)
    for (const WeightType type : {WeightType::kFloat32, WeightType::kBFloat16, WeightType::kFloat16})
      for (const int64_t tokens : {2, 60})
        expect_reference({.hidden = 66, .intermediate = 37, .activation = activation, .held = {type}, .biases = true},
                         tokens);
}

TEST_F(CudaForward, MatchesTheReferenceWithASharedExpert) {
  for (const bool gate : {false, true})
    for (const int64_t tokens : {1, 20, 90})
      expect_reference({.hidden = 45,
                        .intermediate = 20,
                        .shared = 70,
                        .held = {WeightType::kBFloat16},
                        .biases = true,
                        .shared_gate = gate},
                       tokens);
}

TEST_F(CudaForward, MatchesTheReferenceWhenATokenTakesEveryExpert) {
  expect_reference({.hidden = 20, .intermediate = 36, .experts = 7, .top_k = 7, .held = {WeightType::kBFloat16}}, 13);
}

TEST_F(CudaForward, MatchesTheReferenceWithFarMoreExpertsThanRows) {
  expect_reference({.hidden = 18, .intermediate = 20, .experts = 512, .top_k = 2, .held = {WeightType::kBFloat16}}, 3);
}

TEST_F(CudaForward, MatchesTheReferenceWithOneExpert) {
  for (const int64_t tokens : {1, 50})
    expect_reference({.hidden = 18, .intermediate = 20, .experts = 1, .top_k = 1, .held = {WeightType::kBFloat16}},
                     tokens);
}

TEST_F(CudaForward, RunsAnEmptyBatch) {
  for (const int32_t experts : {1, 4}) {
    RandomLayer layer({.experts = experts, .top_k = 1, .shared = 8});
    const LayerResult result = LayerOn(cuda(), layer).run({});
    EXPECT_EQ(result.load, std::vector<uint32_t>(experts, 0));
    EXPECT_EQ(result.totals.dropped_choices, 0);
    EXPECT_EQ(result.totals.capacity, -1);
  }
}

TEST_F(CudaForward, RepeatsBitForBit) {
  for (const WeightType type : {WeightType::kFloat32, WeightType::kBFloat16, WeightType::kFloat16}) {
    RandomLayer layer({.hidden = 70, .intermediate = 45, .shared = 30, .held = {type}, .shared_gate = true});
    LayerOn device(cuda(), layer);
    for (const int64_t tokens : {2, 40}) {
      const std::vector<float> hidden = layer.hidden(tokens);
      const LayerResult first = device.run(hidden);
      for (int i = 0; i < 3; ++i) {  // from the second time on, as a graph
        const LayerResult again = device.run(hidden);
        EXPECT_EQ(again.output, first.output);
        EXPECT_EQ(again.experts, first.experts);
        EXPECT_EQ(again.load, first.load);
      }
    }
  }
}

TEST_F(CudaForward, GivesATokenTheSameBitsInAnyBatch) {
  constexpr int64_t kTokens = 300, kHidden = 70;
  for (const Held& held : {Held{WeightType::kFloat32}, Held{WeightType::kBFloat16}, Held{WeightType::kFloat16},
                           Held{WeightType::kInt8, 32}, Held{WeightType::kInt4, 32}}) {
    RandomLayer layer(
        {.hidden = kHidden, .intermediate = 45, .shared = 30, .held = held, .biases = true, .shared_gate = true});
    LayerOn device(cuda(), layer);
    const std::vector<float> hidden = layer.hidden(kTokens);
    const std::vector<float> whole = device.run(hidden).output;
    int64_t first = 0;
    for (const int64_t size : {1, 7, 8, 9, 20, 32, 33, 60, 100}) {
      const std::vector<float> part(hidden.begin() + first * kHidden, hidden.begin() + (first + size) * kHidden);
      const std::vector<float> output = device.run(part).output;
      EXPECT_EQ(output, std::vector<float>(whole.begin() + first * kHidden, whole.begin() + (first + size) * kHidden))
          << size << " tokens alone, weights " << static_cast<int>(held.type);
      first += size;
    }
  }
}

TEST_F(CudaForward, KeepsNaNAndInfinityInTheirToken) {
  constexpr int64_t kTokens = 40, kHidden = 50;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()})
    for (const WeightType type : {WeightType::kFloat32, WeightType::kBFloat16}) {
      RandomLayer layer({.hidden = kHidden, .intermediate = 30, .shared = 10, .held = {type}});
      LayerOn device(cuda(), layer);
      std::vector<float> hidden = layer.hidden(kTokens);
      const LayerResult clean = device.run(hidden);
      hidden[11 * kHidden + 7] = bad;
      const LayerResult result = device.run(hidden);
      for (int64_t i = 0; i < kTokens * kHidden; ++i) {
        if (i / kHidden == 11) {
          EXPECT_TRUE(std::isnan(result.output[i])) << "element " << i;
        } else {
          EXPECT_EQ(result.output[i], clean.output[i]) << "element " << i;
        }
      }
      EXPECT_EQ(result.experts[11 * 2], -1);
    }
}

TEST_F(CudaForward, SaysThatItIsOutOfMemoryAndGoesOn) {
  RandomLayer layer({.held = {WeightType::kBFloat16}});
  LayerOn device(cuda(), layer);
  const std::vector<float> hidden = layer.hidden(5);
  const LayerResult before = device.run(hidden);
  try {
    cuda().allocate(size_t{1} << 46);
    FAIL() << "64 TiB were allocated";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory) << error.what();
  }
  EXPECT_EQ(device.run(hidden).output, before.output);
}

TEST_F(CudaForward, EndsAnAbortedCallAndRunsTheNext) {
  RandomLayer layer({.held = {WeightType::kBFloat16}});
  LayerOn device(cuda(), layer);
  const std::vector<float> hidden = layer.hidden(5);
  const LayerResult before = device.run(hidden);
  std::stop_source stop;
  stop.request_stop();
  Workspace workspace(cuda());
  std::vector<float> output(hidden.size());
  try {
    device.layer().forward(workspace, {hidden.data(), DType::kFloat32, 5}, {.output = output.data()}, stop.get_token());
    FAIL() << "the call ran";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kAborted);
  }
  EXPECT_EQ(device.run(hidden).output, before.output);
}

}  // namespace
}  // namespace moe::test
