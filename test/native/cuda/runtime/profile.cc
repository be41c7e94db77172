#include "cuda/runtime/profile.h"

#include <sstream>

namespace moe::emulator {

std::map<std::string, uint64_t> instruction_mix(const ptx::Kernel& kernel, const ptx::Counters& counters) {
  std::map<std::string, uint64_t> mix;
  for (size_t i = 0; i < counters.executed.size() && i < kernel.code.size(); ++i)
    if (counters.executed[i] > 0) mix[kernel.opcodes[kernel.code[i].opcode]] += counters.executed[i];
  return mix;
}

std::string profile_json(const ptx::Kernel& kernel, const ptx::Counters& counters, uint64_t launches) {
  const auto ratio = [](uint64_t value, uint64_t least) {
    return least == 0 ? std::string("null") : std::to_string(static_cast<double>(value) / static_cast<double>(least));
  };
  std::ostringstream text;
  uint64_t instructions = 0;
  for (const uint64_t count : counters.executed) instructions += count;
  text << "{\"launches\": " << launches << ", \"blocks\": " << counters.blocks
       << ", \"warpInstructions\": " << instructions
       << ", \"sharedPhases\": " << ratio(counters.shared_phases, counters.least_shared_phases)
       << ", \"matrixPhases\": " << ratio(counters.matrix_phases, counters.least_matrix_phases)
       << ", \"copyPhases\": " << ratio(counters.copy_phases, counters.least_copy_phases)
       << ", \"globalSectors\": " << ratio(counters.sectors, counters.least_sectors) << ", \"mix\": {";
  const char* separator = "";
  for (const auto& [opcode, count] : instruction_mix(kernel, counters)) {
    text << separator << "\"" << opcode << "\": " << count;
    separator = ", ";
  }
  text << "}}";
  return text.str();
}

}  // namespace moe::emulator
