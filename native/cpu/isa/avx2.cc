#if defined(__x86_64__)
#define MOE_ISA avx2
#define MOE_TARGET _Pragma("GCC target(\"avx2,fma,f16c\")")
#define MOE_CPU_HAS_IT \
  (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
#define MOE_VEC "cpu/kernels/vec_avx2.h"
#include "cpu/kernels/all.h"
#endif
