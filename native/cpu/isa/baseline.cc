#if defined(__x86_64__)
#define MOE_ISA baseline
#define MOE_TARGET
#define MOE_CPU_HAS_IT true
#define MOE_VEC "cpu/kernels/vec_sse2.h"
#include "cpu/kernels/all.h"
#endif
