// What the interpreter refuses: text it cannot read, and programs that do what a GPU would not forgive.
#pragma once
#include <stdexcept>
#include <string>

namespace moe::ptx {

// PTX text that is malformed or uses an instruction, a modifier or a feature the interpreter does not know.
class Unsupported : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class FaultKind {
  kOutOfBounds,    // an address outside every live allocation, or past the end of shared memory
  kMisaligned,     // an address that is no multiple of the access's size
  kUndefined,      // an address, a branch or a result depends on a value nobody wrote
  kSharedRace,     // two threads, one word of shared memory, no order between them
  kGlobalRace,     // the same for global memory, inside one launch
  kBarrier,        // a barrier or a warp instruction that not all of its threads reach
  kDeadlock,       // every warp waits
  kPendingCopies,  // a thread ends while its cp.async copies are under way
  kTooLong,        // the instruction budget is used up
  kBadLaunch,      // grid, block, arguments or shared memory the device would refuse
};

// "out of bounds", "shared-memory race", ...
const char* name_of(FaultKind kind);

class Fault : public std::runtime_error {
 public:
  Fault(FaultKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  FaultKind kind() const { return kind_; }

 private:
  FaultKind kind_;
};

}  // namespace moe::ptx
