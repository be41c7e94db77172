// Products by the instruction that multiplies two rows by two columns, eight inputs at a time, compiled for one set of
// instructions: as all.h.
// clang-format off
#include "cpu/kernels/dots.h"
#include "cpu/kernels/i8mm_products.h"
