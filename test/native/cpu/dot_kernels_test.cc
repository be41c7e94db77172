// Where this CPU has instructions beside the set that it uses, their products of integers have the set's bits.
#include "cpu/dots_beside.h"

namespace moe::test {
namespace {

class DotKernels : public DotsBeside {
 protected:
  DotKernels() : DotsBeside(cpu::dot_kernels(cpu::choose_kernels(nullptr))) {}
};

TEST_F(DotKernels, GiveTheBitsOfTheSet) { expect_the_bits_of_the_set(); }
TEST_F(DotKernels, ServeExpertsWithEnoughRows) { expect_experts_of_the_set(); }

TEST_F(DotKernels, MultiplyFormsApartThatNeedOtherRows) { expect_forms_apart(); }

}  // namespace
}  // namespace moe::test
