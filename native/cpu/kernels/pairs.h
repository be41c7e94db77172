// The kernels for pairs of bfloat16, compiled for one set of instructions that has them: as all.h.
// clang-format off
#include "cpu/kernels/begin.h"
#include MOE_VEC
#include "cpu/kernels/math.h"
#include "cpu/kernels/activation.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/weights.h"
#include "cpu/kernels/tile.h"
#include "cpu/kernels/gemm.h"
#include "cpu/kernels/pair_weights.h"
#include "cpu/kernels/pair_products.h"
