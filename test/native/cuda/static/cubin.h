// Machine code as ptxas wrote it: an ELF file with a section of instructions per kernel.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace moe::test {

// The opcode is the low 12 bits of an instruction's 16 bytes. These are the ones that matter here; each was seen in
// code compiled from a kernel that could only become it.
enum class Sass : uint16_t {
  kHmma = 0x23c,
  kImma = 0x237,
  kLdsm = 0x83b,
  kLdgsts = 0xfae,  // cp.async
  kLds = 0x984,
  kSts = 0x988,
  kLdg = 0x981,
  kStg = 0x986,
  kLdl = 0x983,  // local memory: spills and arrays that are indexed
  kStl = 0x387,
  kBar = 0xb1d,
  kBra = 0x947,
};

struct MachineCode {
  int registers = 0;                // per thread
  int shared_bytes = 0;             // static
  std::vector<uint16_t> opcodes;    // in order
  std::vector<int> branch_targets;  // instruction a branch goes to; -1 where there is none

  int count(Sass opcode) const { return count(opcode, 0, static_cast<int>(opcodes.size())); }
  int count(Sass opcode, int begin, int end) const;
};

struct Loop {
  int begin = 0, end = 0;  // instructions
  int size() const { return end - begin; }
};

// By name of the kernel. `architecture` is 80, 90, ...: branches are encoded differently. Throws std::runtime_error for
// a file that is no cubin.
std::map<std::string, MachineCode> read_cubin(const std::string& path, int architecture);

// The innermost loops around matrix multiplications; empty where there are none.
std::vector<Loop> hot_loops(const MachineCode& code);

}  // namespace moe::test
