#include "cuda/ptx/fault.h"

namespace moe::ptx {

const char* name_of(FaultKind kind) {
  switch (kind) {
    case FaultKind::kOutOfBounds:
      return "out of bounds";
    case FaultKind::kMisaligned:
      return "misaligned address";
    case FaultKind::kUndefined:
      return "undefined value";
    case FaultKind::kSharedRace:
      return "shared-memory race";
    case FaultKind::kGlobalRace:
      return "global-memory race";
    case FaultKind::kBarrier:
      return "divergent barrier";
    case FaultKind::kDeadlock:
      return "deadlock";
    case FaultKind::kPendingCopies:
      return "pending copies";
    case FaultKind::kTooLong:
      return "too many instructions";
    case FaultKind::kBadLaunch:
      return "bad launch";
  }
  return "";
}

}  // namespace moe::ptx
