// What products of integers with instructions of their own begin with.
// clang-format off
#include "cpu/kernels/begin.h"
#include MOE_VEC
#include "cpu/kernels/math.h"
#include "cpu/kernels/activation.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/weights.h"
#include "cpu/kernels/tile.h"
#include "cpu/kernels/gemm.h"
#include "cpu/kernels/integer.h"
#include "cpu/kernels/laid_rows.h"
