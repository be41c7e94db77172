// Where parallel work runs. Core algorithms take one, so that they know nothing of threads.
#pragma once
#include <cstdint>

#include "core/function_ref.h"

namespace moe {

class Executor {
 public:
  virtual ~Executor() = default;

  // Calls body(begin, end) for consecutive pieces of at least `grain` (the last may be shorter) that together cover
  // [0, count), on any threads in any order, and returns when all have ended. The first exception is rethrown.
  virtual void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body) = 0;
};

}  // namespace moe
