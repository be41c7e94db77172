// Which instruction sets were built, which of them this CPU has, and which one is used.
#pragma once
#include <span>
#include <string>

#include "cpu/kernels/table.h"

namespace moe::cpu {

// Every set of this build that the CPU supports, best first. Never empty.
std::span<const Kernels* const> supported_kernels();

// The set that `forced` names, the best one when it is null or empty. Throws kDeviceUnavailable, naming what is there,
// when the name is unknown, or the CPU or this build lacks it.
const Kernels& choose_kernels(const char* forced);

// Of the set, where the CPU has its instructions; null where not.
const PairKernels* pair_kernels(const Kernels& kernels);
const DotKernels* dot_kernels(const Kernels& kernels);

// choose_kernels with what the environment variable MOE_CPU_ISA says.
const Kernels& choose_kernels();

// "avx512 (best of avx512, avx2, baseline)" or "avx2 (forced by MOE_CPU_ISA)"; "avx512vnni with avx512bf16 and
// avx512amx ...".
std::string describe_choice();

}  // namespace moe::cpu
