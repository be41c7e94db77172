// Each option rounds what it says, no more and no less, in every projection.
#include "cpu/run_stages.h"
#include "rounded_reference.h"

namespace moe::test {
namespace {

class Roundings : public EachInstructionSet {
 protected:
  void expect_rounded(const Held& held) {
    cpu::CpuDevice backend{kernels(), 2};
    Rounding rounding;
    const int64_t group = held.group == 0 ? 128 : held.group;  // rows have a scale per 128 values at least
    if (held.row_type == RowType::kInt8) rounding.row = [group](std::vector<double>& row) { quantize_row(row, group); };
    if (held.row_type == RowType::kBFloat16) rounding.value = as_bfloat16;
    for (const int64_t tokens : {4, 40})
      expect_every_rounding(backend, {.hidden = 150, .intermediate = 70, .shared = 140, .held = held}, rounding,
                            tokens);
  }
};
INSTANTIATE_TEST_SUITE_P(Cpu, Roundings, testing::ValuesIn(cpu::supported_kernels()), kernels_name);

TEST_P(Roundings, AreThoseOfTheWeightType) {
  for (const Held& held : kEveryHeld) expect_rounded(held);
}

TEST_P(Roundings, AreThoseOfBFloat16Rows) {
  for (const Held& held : kEveryBFloat16Rows) expect_rounded(held);
}

TEST_P(Roundings, AreThoseOfInt8Rows) {
  for (const Held& held : kEveryIntegerProduct) expect_rounded(held);
}

}  // namespace
}  // namespace moe::test
