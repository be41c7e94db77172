#define MOE_ISA baseline
#define MOE_CPU_HAS_IT true
#define MOE_VEC "cpu/kernels/vec_sse2.h"
#include "cpu/kernels/all.h"
