// A module as the machine runs it: every kernel's instructions decoded once into a compact form.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cuda/ptx/types.h"

namespace moe::ptx {

struct Warp;
struct Instruction;
using Handler = void (*)(Warp&, const Instruction&);

// A warp's register file is made of units of 32 words of 4 bytes: one unit holds a register of up to 32 bits for all 32
// lanes, two neighbours one of 64 bits. Immediates and special registers are registers, too, filled before the warp
// starts, so every operand is a unit number. Predicates are 32-bit lane masks in a file of their own.
using Unit = uint16_t;

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kParam, kConst };

// Where control goes after an instruction.
enum class Flow : uint8_t { kNext, kBranch, kTable, kReturn };

struct Instruction {
  Handler run = nullptr;
  int64_t offset = 0;  // of a memory operand
  int16_t guard = -1;  // predicate
  bool guard_negated = false;
  Flow flow = Flow::kNext;
  uint8_t bytes = 0;  // of one element in memory
  uint8_t count = 1;  // elements of a vector operand
  uint8_t mode = 0;   // what the handler's decoder meant by it
  Space space = Space::kGeneric;
  bool negated = false;  // of a source predicate
  Unit d = 0, a = 0, b = 0, c = 0, e = 0;
  uint32_t target = 0;  // of a branch, or the index of a branch table
  std::array<Unit, 14> vector{};
  uint16_t opcode = 0;  // into Kernel::opcodes
  int line = 0;         // of the text
};

struct Constant {
  Unit unit;
  uint8_t bytes;
  uint64_t value;
};

enum class Special : uint8_t {
  kTidX,
  kTidY,
  kTidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kLaneid,
  kWarpid,
  kLanemaskLt,
  kLanemaskLe,
  kLanemaskGt,
  kLanemaskGe,
  kLanemaskEq,
  kSmid,
  kNsmid,
  kClock,
  kDynamicSharedBytes,
  kDynamicSharedStart
};

struct SpecialRegister {
  Unit unit;
  Special which;
  uint8_t bytes;
};

struct Parameter {
  uint32_t offset;
  uint32_t bytes;
};

struct Kernel {
  std::string name;
  std::string target;  // "sm_80"
  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0;
  uint32_t shared_bytes = 0;  // static shared memory
  uint32_t dynamic_alignment = 16;
  uint32_t local_bytes = 0;     // per thread
  uint32_t max_threads = 1024;  // .maxntid
  uint32_t units = 0, predicates = 0;
  std::vector<Constant> constants;
  std::vector<SpecialRegister> specials;
  std::vector<Instruction> code;
  std::vector<std::vector<uint32_t>> branch_tables;
  std::vector<std::string> opcodes;  // distinct, as written
};

}  // namespace moe::ptx
