// What the kernels ask of the memory system, on shapes that are multiples of everything.
#include "cuda/emulated/harness.h"

namespace moe::test {
namespace {

class Traffic : public OnEmulator, public testing::WithParamInterface<Held> {};

bool multiplies(const std::string& kernel) {
  return kernel.find("_tile_") != std::string::npos || kernel.find("_few_") != std::string::npos ||
         kernel.find("_several_") != std::string::npos;
}

// With several rows a load takes half a sector of each row, and the next one the other half, from the first-level
// cache.
double sectors_over_least(const std::string& kernel) {
  return kernel.find("_several_") != std::string::npos ? 2.0 : 1.2;
}

TEST_P(Traffic, HasNoBankConflictsAndWastesLittleOfASector) {
  RandomLayer random({.hidden = 256, .intermediate = 128, .experts = 2, .top_k = 2, .held = GetParam()});
  for (const int tokens : {4, 32, 128}) {
    device().forget_counters();
    forward_on_cuda(random, random.hidden(tokens));
#define MOE_CUDA_CHECK(name, Task)                                                                              \
  if (const ptx::Counters counters = device().counters(#name); counters.blocks > 0) {                           \
    EXPECT_EQ(counters.shared_phases, counters.least_shared_phases) << #name << " " << tokens;                  \
    EXPECT_EQ(counters.copy_phases, counters.least_copy_phases) << #name << " " << tokens;                      \
    EXPECT_EQ(counters.matrix_phases, counters.least_matrix_phases) << #name << " " << tokens;                  \
    if (multiplies(#name)) {                                                                                    \
      EXPECT_LE(counters.sectors, counters.least_sectors* sectors_over_least(#name)) << #name << " " << tokens; \
    }                                                                                                           \
  }
    MOE_CUDA_KERNELS(MOE_CUDA_CHECK)
#undef MOE_CUDA_CHECK
  }
}

constexpr const char* kTypeNames[] = {"float32", "bfloat16", "float16", "int8", "int4"};

INSTANTIATE_TEST_SUITE_P(All, Traffic,
                         testing::Values(Held{WeightType::kFloat32}, Held{WeightType::kBFloat16},
                                         Held{WeightType::kFloat16}, Held{WeightType::kInt8, 128},
                                         Held{WeightType::kInt4, 32}),
                         [](const testing::TestParamInfo<Held>& info) {
                           return std::string(kTypeNames[static_cast<int>(info.param.type)]);
                         });

}  // namespace
}  // namespace moe::test
