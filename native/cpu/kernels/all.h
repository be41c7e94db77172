// Every kernel, compiled for one instruction set. No include guard: isa/*.cc include it once each, after they said
// which set (MOE_ISA), what the compiler calls its instructions (MOE_TARGET, where it needs to be told), whether the
// CPU has it (MOE_CPU_HAS_IT) and its registers (MOE_VEC). The order is the order of use.
// clang-format off
#include "cpu/kernels/begin.h"
#include MOE_VEC
#include "cpu/kernels/math.h"
#include "cpu/kernels/activation.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/weights.h"
#include "core/weights/formats/scaled_integers.h"
#include "cpu/kernels/tile.h"
#include "cpu/kernels/gemm.h"
#include "cpu/kernels/integer.h"
#include "cpu/kernels/published_panels.h"
#include "cpu/kernels/published.h"
#include "cpu/kernels/published_dots.h"
#include "cpu/kernels/peak.h"
#include "cpu/kernels/kv_numbers.h"
#include "cpu/kernels/scores.h"
#include "cpu/kernels/softmax.h"
#include "cpu/kernels/attention_dots.h"
#include "cpu/kernels/attention.h"
#include "cpu/kernels/norms.h"
#include "cpu/kernels/end.h"
