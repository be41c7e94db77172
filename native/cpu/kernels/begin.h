// Opens the target region and the namespace of one instruction set. No include guard: it opens once per set.
//
// Kernels include one another, the quantiser, <cstddef>, <cstdint> and intrinsics, nothing else: a function of the
// standard library compiled here would be a weak symbol that the linker may keep for everybody, and older CPUs would
// die of it. For the same reason everything between here and end.h has internal linkage.
#include <cstddef>
#include <cstdint>

#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12 warns of its own intrinsics
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

#include "cpu/kernels/table.h"

#define MOE_TEXT_OF(x) #x
#define MOE_TEXT(x) MOE_TEXT_OF(x)
#define MOE_PRAGMA_OF(text) _Pragma(#text)
#define MOE_PRAGMA(text) MOE_PRAGMA_OF(text)
#if defined(MOE_TARGET) && defined(__clang__)
MOE_PRAGMA(clang attribute push(__attribute__((target(MOE_TARGET))), apply_to = function))
#elif defined(MOE_TARGET)
#pragma GCC push_options
MOE_PRAGMA(GCC target(MOE_TARGET))
#endif
namespace moe::cpu::MOE_ISA {
extern const Kernels table;
extern const PairKernels pair_table;
extern const DotKernels dot_table;
namespace {
constexpr int64_t kNever = INT64_MAX;
