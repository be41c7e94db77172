#include "core/error.h"
#include "core/layer/layer.h"
#include "cpu/run_stages.h"

// Sanitizers end the program when an allocation fails, unless told not to.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
  return "allocator_may_return_null=1";
}

namespace moe::test {
namespace {

constexpr auto ignore_progress = [](int64_t, int64_t) {};

std::vector<float> forward(Device& backend, const Layer& layer, const std::vector<float>& hidden) {
  Workspace workspace(backend);
  std::vector<float> output(hidden.size());
  const auto tokens = static_cast<int64_t>(hidden.size()) / layer.spec().hidden_size;
  layer.forward(workspace, {hidden.data(), DType::kFloat32, tokens}, {.output = output.data()}, {});
  return output;
}

TEST(Prepare, ReportsEachExpertOnceAndInOrder) {
  cpu::CpuDevice backend(cpu::choose_kernels(), 3);
  RandomLayer layer({.experts = 20, .shared = 30});
  int64_t last = 0;
  const auto count = [&](int64_t done, int64_t total) {
    EXPECT_EQ(done, last + 1);
    EXPECT_EQ(total, 21);
    last = done;
  };
  const Layer made(backend, layer.spec, layer.host, count, {});
  EXPECT_EQ(last, 21);
}

TEST(Prepare, EndsWithAbortedOnAStopRequest) {
  cpu::CpuDevice backend(cpu::choose_kernels(), 2);
  RandomLayer layer({.experts = 20});
  std::stop_source source;
  const auto stop_at_third = [&](int64_t done, int64_t) {
    if (done == 3) source.request_stop();
  };
  try {
    backend.moe().prepare_experts(layer.spec, layer.host, stop_at_third, source.get_token());
    FAIL() << "prepare ignored the stop request";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kAborted);
  }
}

TEST(Prepare, CountsTheBytesOfThePackedWeights) {
  cpu::CpuDevice backend(cpu::choose_kernels(), 2);
  const LayerOptions wide{.hidden = 256, .intermediate = 128, .experts = 8};
  LayerOptions half = wide;
  half.held = {WeightType::kBFloat16};
  const size_t values = 8 * 3 * 256 * 128;
  const size_t bytes = prepare(backend, RandomLayer(wide))->weight_bytes();
  const size_t half_bytes = prepare(backend, RandomLayer(half))->weight_bytes();
  EXPECT_GE(bytes, 4 * values);
  EXPECT_LT(bytes, 5 * values);
  EXPECT_GE(half_bytes, 2 * values);
  EXPECT_LT(half_bytes, 3 * values);
  for (const auto& [held, bits] : {std::pair{Held{WeightType::kInt8, 32}, 8.5},
                                   {{WeightType::kInt8, 0}, 8.125},
                                   {{WeightType::kInt4, 32}, 4.5},
                                   {{WeightType::kInt4, 64}, 4.25}}) {
    LayerOptions options = wide;
    options.held = held;
    const auto integer_bytes = static_cast<double>(prepare(backend, RandomLayer(options))->weight_bytes());
    EXPECT_GE(integer_bytes, bits / 8 * values);
    EXPECT_LT(integer_bytes, bits / 8 * values * 1.2);
  }
}

TEST(Prepare, TakesItsOwnPackedPartsAndGivesTheSameBits) {
  cpu::CpuDevice backend(cpu::choose_kernels(), 2);
  for (const Held held : kEveryHeld) {
    RandomLayer random({.hidden = 70, .intermediate = 45, .shared = 20, .latent = 31, .held = held, .biases = true});
    const Layer first(backend, random.spec, random.host, ignore_progress, {});
    LayerWeights packed;
    packed.packed = first.packed();
    const Layer second(backend, random.spec, packed, ignore_progress, {});
    EXPECT_EQ(second.weight_bytes(), first.weight_bytes());
    const std::vector<float> hidden = random.hidden(9);
    EXPECT_EQ(forward(backend, second, hidden), forward(backend, first, hidden));

    for (PackedPart& part : packed.packed->parts) {
      --part.bytes;
      EXPECT_THROW(Layer(backend, random.spec, packed, ignore_progress, {}), Error) << part.name;
      ++part.bytes;
    }
    packed.packed->parts.erase(packed.packed->parts.begin());
    EXPECT_THROW(Layer(backend, random.spec, packed, ignore_progress, {}), Error);
  }
}

TEST(Prepare, EndsWithOutOfMemoryWhenTheWeightsDoNotFit) {
  cpu::CpuDevice backend(cpu::choose_kernels(), 1);
  RandomLayer layer({.experts = 1, .top_k = 1});
  layer.spec.hidden_size = layer.spec.intermediate_size = 1 << 23;
  try {
    prepare(backend, layer);
    FAIL() << "844 TB were allocated";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
  }
}

TEST(RunExperts, EndWithAbortedOnAStopRequest) {
  cpu::CpuDevice backend(cpu::choose_kernels(), 2);
  RandomLayer layer({});
  const std::unique_ptr<PreparedExperts> prepared = prepare(backend, layer);
  const std::vector<float> hidden = layer.hidden(40);
  std::stop_source source;
  const std::vector<float> before = run_experts(backend, *prepared, layer.spec, hidden, round_robin(40, 2, 4));
  source.request_stop();
  try {
    run_experts(backend, *prepared, layer.spec, hidden, round_robin(40, 2, 4), {}, source.get_token());
    FAIL() << "run_experts ignored the stop request";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kAborted);
  }
  EXPECT_EQ(run_experts(backend, *prepared, layer.spec, hidden, round_robin(40, 2, 4)), before);
}

}  // namespace
}  // namespace moe::test
