#define MOE_ISA avx512
#define MOE_TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"
#define MOE_CPU_HAS_IT                                                                                              \
  (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && \
   __builtin_cpu_supports("avx512dq"))
#define MOE_VEC "cpu/kernels/vec_avx512.h"
#include "cpu/kernels/all.h"
