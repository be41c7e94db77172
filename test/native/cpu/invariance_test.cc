// The law of this backend: a token's output is the same bits whatever else is in the batch, however the batch is split
// and however many threads work on it.
#include <cstring>
#include <random>

#include "core/layer/layer.h"
#include "cpu/run_stages.h"

namespace moe::test {
namespace {

class Invariance : public EachInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Cpu, Invariance, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

// The whole path of a layer, router and shared expert included.
std::vector<float> forward(Device& backend, const Layer& layer, const float* hidden, int64_t tokens) {
  Workspace workspace(backend);
  std::vector<float> output(tokens * layer.spec().hidden_size);
  ForwardOutput out;
  out.output = output.data();
  layer.forward(workspace, {hidden, DType::kFloat32, tokens}, out, {});
  return output;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// More rows per expert than a tile, more depth than a block, sizes that are multiples of nothing.
LayerOptions options_for(Held held, const Activation& activation, int32_t latent = 0) {
  return {.hidden = 531,
          .intermediate = 277,
          .experts = 5,
          .top_k = 3,
          .shared = 90,
          .latent = latent,
          .activation = activation,
          .held = held,
          .biases = true,
          .shared_gate = true};
}

// One call for all tokens, and calls of several sizes somewhere in them.
void expect_the_batch_without_effect(const cpu::Kernels& kernels, Held held, const Activation& activation,
                                     int32_t latent = 0) {
  constexpr int64_t kTokens = 100;
  cpu::CpuDevice backend(kernels, 2);
  RandomLayer random(options_for(held, activation, latent));
  const Layer layer(backend, random.spec, random.host, [](int64_t, int64_t) {}, {});
  const std::vector<float> hidden = random.hidden(kTokens);
  const int64_t width = random.spec.hidden_size;
  const std::vector<float> together = forward(backend, layer, hidden.data(), kTokens);
  std::mt19937 places(7);
  for (const int64_t part : {1, 2, 7, 13, 64, 99}) {
    for (int64_t rows = 0; rows < 40; rows += part) {
      const int64_t begin = std::uniform_int_distribution<int64_t>(0, kTokens - part)(places);
      const std::vector<float> alone = forward(backend, layer, hidden.data() + begin * width, part);
      const float* const among = together.data() + begin * width;
      EXPECT_TRUE(same_bits(alone, {among, among + part * width})) << part << " tokens from " << begin;
    }
  }
}

TEST_P(Invariance, OfATokenToTheRestOfTheBatch) {
  for (const Held held : {Held{WeightType::kFloat32}, {WeightType::kBFloat16}, {WeightType::kFloat16}})
    for (const Activation activation : {Activation::kSwiGLU, Activation::kGELU})
      expect_the_batch_without_effect(kernels(), held, activation);
}

TEST_P(Invariance, OfATokenToTheRestOfTheBatchWithALatentSize) {
  for (const Held held : {Held{WeightType::kFloat32}, {WeightType::kInt8, 32, RowType::kInt8}})
    expect_the_batch_without_effect(kernels(), held, Activation::kReLU2, 131);
}

TEST_P(Invariance, OfATokenToTheRestOfTheBatchInIntegers) {
  for (const Held held : kEveryHeld)
    if (format_of(held.type).has_groups()) expect_the_batch_without_effect(kernels(), held, Activation::kSwiGLU);
}

TEST_P(Invariance, OfATokenToTheRestOfTheBatchInIntegerProducts) {
  for (const Held held : kEveryIntegerProduct) expect_the_batch_without_effect(kernels(), held, Activation::kSwiGLU);
}

TEST_P(Invariance, OfATokenToTheRestOfTheBatchInBFloat16) {
  for (const Held held : kEveryBFloat16Rows) expect_the_batch_without_effect(kernels(), held, Activation::kSwiGLU);
}

TEST_P(Invariance, OfTheOutputToTheNumberOfThreads) {
  constexpr int64_t kTokens = 120;
  std::vector<float> first;
  for (const int32_t threads : {1, 2, 5}) {
    cpu::CpuDevice backend(kernels(), 2);
    LayerOptions options = options_for({WeightType::kBFloat16}, Activation::kSwiGLU, 75);
    options.threads = threads;
    RandomLayer random(options);
    const Layer layer(backend, random.spec, random.host, [](int64_t, int64_t) {}, {});
    const std::vector<float> hidden = random.hidden(kTokens);
    for (int repeat = 0; repeat < 5; ++repeat) {
      const std::vector<float> output = forward(backend, layer, hidden.data(), kTokens);
      if (first.empty()) first = output;
      EXPECT_TRUE(same_bits(output, first)) << threads << " threads";
    }
  }
}

// Adding up in any other order than k = 0 .. K-1 gives another sum here: 1e8 swallows what comes before it.
TEST_P(Invariance, OfTheOrderOfSumsToTheirSize) {
  constexpr int32_t kWidth = 700;
  RandomLayer random({.hidden = kWidth, .intermediate = 3, .experts = 1, .top_k = 1, .activation = Activation::kReLU});
  std::vector<float> up(3 * kWidth, 1.0f), down(kWidth * 3, 1.0f), hidden(kWidth);
  for (int32_t k = 0; k < kWidth; ++k)
    hidden[k] = k % 7 == 3 ? 1e8f : k % 7 == 5 ? -1e8f : 0.5f + static_cast<float>(k % 11);
  float expected = 0;
  for (const float value : hidden) expected += value;  // exact products: fused or not, the sum rounds alike
  random.host.experts[0].up = {up.data(), DType::kFloat32, 3, kWidth, kWidth, 1};
  random.host.experts[0].down = {down.data(), DType::kFloat32, kWidth, 3, 3, 1};

  cpu::CpuDevice backend(kernels(), 2);
  const std::unique_ptr<PreparedExperts> prepared = prepare(backend, random);
  for (const int64_t tokens : {1, 2, 5, 30, 200}) {
    std::vector<float> batch;
    for (int64_t token = 0; token < tokens; ++token) batch.insert(batch.end(), hidden.begin(), hidden.end());
    for (const float value : run_experts(backend, *prepared, random.spec, batch, round_robin(tokens, 1, 1)))
      ASSERT_EQ(value, 0.5f * (expected + expected + expected)) << tokens << " tokens";  // round_robin weighs 1/2
  }
}

}  // namespace
}  // namespace moe::test
