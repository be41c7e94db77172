#define MOE_ISA neon
#define MOE_CPU_HAS_IT true
#define MOE_VEC "cpu/kernels/vec_neon.h"
#include "cpu/kernels/all.h"
