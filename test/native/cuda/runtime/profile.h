// What a kernel's launches did, as text.
#pragma once
#include <map>
#include <string>

#include "cuda/ptx/machine.h"

namespace moe::emulator {

// Warp instructions by opcode, as written in PTX.
std::map<std::string, uint64_t> instruction_mix(const ptx::Kernel& kernel, const ptx::Counters& counters);

// A JSON object: launches, blocks, warp instructions, the mix, and phases and sectors as multiples of the least.
std::string profile_json(const ptx::Kernel& kernel, const ptx::Counters& counters, uint64_t launches);

}  // namespace moe::emulator
