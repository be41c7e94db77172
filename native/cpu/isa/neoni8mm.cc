#define MOE_ISA neoni8mm
#define MOE_BESIDE neon
#if defined(__clang__)
#define MOE_TARGET "i8mm"
#else
#define MOE_TARGET "arch=armv8.2-a+i8mm"
#endif
#define MOE_CPU_HAS_IT has_i8mm()
#define MOE_VEC "cpu/kernels/vec_neon.h"
#include "cpu/kernels/i8mm.h"
