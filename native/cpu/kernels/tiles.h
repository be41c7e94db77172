// Products by tiles, compiled for one set of instructions: as all.h, after MOE_TILES said what works on tiles, and
// MOE_BESIDE of which set the panels are.
// clang-format off
#include "cpu/kernels/dots.h"
#include "cpu/kernels/tile_config.h"
#include MOE_TILES
#include "cpu/kernels/tile_products.h"
