// As tile_products_test.cc, with the registers that stand beside tiles: two columns of them to a panel.
#if defined(__x86_64__)
#include "cpu/dots_beside.h"
#include "cpu/tile_machine.h"

#define MOE_ISA interpreted_tiles_avx512
#define MOE_BESIDE avx512vnni
#define MOE_TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"
#define MOE_CPU_HAS_IT true
#define MOE_VEC "cpu/kernels/vec_avx512.h"
#define MOE_TILES "cpu/interpreted_tiles.h"
#include "cpu/kernels/tiles.h"

namespace moe::test {
namespace {

class TileProductsAvx512 : public DotsBeside {
 protected:
  TileProductsAvx512() : DotsBeside(&cpu::interpreted_tiles_avx512::dot_table) {}
};

TEST_F(TileProductsAvx512, GiveTheBitsOfTheSet) {
  expect_the_bits_of_the_set();
  EXPECT_FALSE(tile_machine().configured()) << "tiles were not released";
}

TEST_F(TileProductsAvx512, ServeExpertsWithEnoughRows) { expect_experts_of_the_set(); }

TEST_F(TileProductsAvx512, MultiplyFormsApartThatNeedOtherRows) { expect_forms_apart(); }

}  // namespace
}  // namespace moe::test
#endif
