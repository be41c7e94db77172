#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>

#include "cpu/device.h"
#include "cpu/run_stages.h"
#include "decoder_bits.h"
#include "fakes/host_decoder.h"

namespace moe::test {
namespace {

// How a model is held on the device.
struct HeldModel {
  const char* name;
  KvType kv_type;
  ProjectionSpec held;
  double tolerance;  // of logits, in root mean square; fewer bits make a token choose other experts now and then
};
constexpr HeldModel kHeldModels[] = {
    {"float32", KvType::kFloat32, {}, 1e-4},
    {"bfloat16", KvType::kBFloat16, {WeightType::kBFloat16, 0, RowType::kBFloat16}, 0.03},
    {"int8", KvType::kInt8, {WeightType::kInt8, 0, RowType::kInt8}, 0.15}};

class WholeModel : public testing::TestWithParam<std::tuple<const cpu::Kernels*, TinyOptions, HeldModel>> {
 protected:
  TinyOptions options() const {
    TinyOptions options = std::get<1>(GetParam());
    options.kv_type = std::get<2>(GetParam()).kv_type;
    options.held = std::get<2>(GetParam()).held;
    return options;
  }

  cpu::CpuDevice device{*std::get<0>(GetParam()), 2};
};
// Where a step stops has nothing to do with how a model is held, and looking at every place takes long.
class StoppedModel : public WholeModel {};

std::string name_of(const testing::TestParamInfo<WholeModel::ParamType>& info) {
  return std::string(std::get<0>(info.param)->name) + "_" + std::get<1>(info.param).name + "_" +
         std::get<2>(info.param).name;
}
INSTANTIATE_TEST_SUITE_P(Cpu, WholeModel,
                         testing::Combine(testing::ValuesIn(cpu::supported_kernels()), testing::ValuesIn(tiny_models()),
                                          testing::ValuesIn(kHeldModels)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Cpu, StoppedModel,
                         testing::Combine(testing::ValuesIn(cpu::supported_kernels()), testing::ValuesIn(tiny_models()),
                                          testing::Values(kHeldModels[0])),
                         name_of);

TEST_P(WholeModel, GivesTheSameInAnyPieces) { expect_same_in_any_pieces(device, options()); }
TEST_P(WholeModel, GivesTheSameInAnyCompany) { expect_same_in_any_company(device, options()); }
TEST_P(WholeModel, GivesTheSameBehindACachedBeginning) { expect_same_behind_hits(device, options()); }
TEST_P(StoppedModel, IsAsBefore) { expect_as_before_when_stopped(device, options()); }
TEST_P(WholeModel, ASequenceWithoutNumbersHarmsNoOther) { expect_no_harm_without_numbers(device, options()); }

TEST_P(WholeModel, GivesWhatPlainLoopsGive) {
  HostDecoder plain;
  TinyOptions exact = options();
  exact.kv_type = KvType::kFloat32;
  exact.held.row_type = RowType::kFloat32;
  const std::vector<int32_t> tokens = random_tokens(70, 6);
  TinyEngine expected(plain, exact), engine(device, options());
  const std::vector<float> one = expected.logits_in_pieces(tokens, {70}), other = engine.logits_in_pieces(tokens, {9});
  ASSERT_EQ(one.size(), other.size());
  double squares = 0, of_differences = 0;
  for (size_t i = 0; i < one.size(); ++i) {
    squares += one[i] * one[i];
    of_differences += (one[i] - other[i]) * (one[i] - other[i]);
  }
  EXPECT_TRUE(std::sqrt(of_differences / squares) <= std::get<2>(GetParam()).tolerance)
      << std::sqrt(of_differences / squares);
}

}  // namespace
}  // namespace moe::test
