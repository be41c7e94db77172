#define MOE_ISA avx512bf16
#define MOE_TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c"
#define MOE_CPU_HAS_IT (__builtin_cpu_supports("avx512bf16"))
#define MOE_VEC "cpu/kernels/vec_avx512.h"
#include "cpu/kernels/pairs.h"
