// Products by tiles give the bits of the sets: the kernel that processors with tiles run, over the interpreter, with
// registers that most machines have.
#if defined(__x86_64__)
#include "cpu/dots_beside.h"
#include "cpu/tile_machine.h"

#define MOE_ISA interpreted_tiles
#define MOE_BESIDE avx2
#define MOE_TARGET "avx2,fma,f16c"
#define MOE_VEC "cpu/kernels/vec_avx2.h"
#define MOE_CPU_HAS_IT true
#define MOE_TILES "cpu/interpreted_tiles.h"
#include "cpu/kernels/tiles.h"

namespace moe::test {
namespace {

class TileProducts : public DotsBeside {
 protected:
  TileProducts() : DotsBeside(&cpu::interpreted_tiles::dot_table) {}
};

TEST_F(TileProducts, GiveTheBitsOfTheSet) {
  expect_the_bits_of_the_set();
  EXPECT_FALSE(tile_machine().configured()) << "tiles were not released";
}

TEST_F(TileProducts, ServeExpertsWithEnoughRows) { expect_experts_of_the_set(); }

TEST_F(TileProducts, MultiplyFormsApartThatNeedOtherRows) { expect_forms_apart(); }

}  // namespace
}  // namespace moe::test
#endif
