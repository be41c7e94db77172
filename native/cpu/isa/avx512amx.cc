#define MOE_ISA avx512amx
#define MOE_BESIDE avx512vnni
#define MOE_TARGET "avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-int8,avx2,fma,f16c"
#define MOE_CPU_HAS_IT (has_tiles() && is_given_tiles())
#define MOE_VEC "cpu/kernels/vec_avx512.h"
#define MOE_TILES "cpu/kernels/amx.h"
#include "cpu/kernels/tiles.h"
