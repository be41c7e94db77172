#define MOE_ISA avx2
#define MOE_TARGET "avx2,fma,f16c"
#define MOE_CPU_HAS_IT (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
#define MOE_VEC "cpu/kernels/vec_avx2.h"
#include "cpu/kernels/all.h"
