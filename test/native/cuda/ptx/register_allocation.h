// nvcc names a register per value, tens of thousands in a long kernel. Values that never live at once share a place,
// so that a warp's registers stay in the host's cache.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/ptx/program.h"

namespace moe::ptx {

struct RegisterUse {
  uint32_t instruction;
  uint32_t reg;
  bool writes;
};

struct Allocation {
  std::vector<uint32_t> unit_of;  // of each register
  uint32_t units = 0;
};

// `units[r]` is how many neighbouring units register r takes, 1 or 2. Uses come in the order of the code.
Allocation allocate_registers(const Kernel& kernel, const std::vector<RegisterUse>& uses,
                              const std::vector<uint8_t>& units);

}  // namespace moe::ptx
