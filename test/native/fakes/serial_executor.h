// An executor without threads.
#pragma once
#include "core/host/executor.h"

namespace moe::test {

// Runs everything on the calling thread.
class SerialExecutor final : public Executor {
 public:
  void parallel_for(int64_t count, int64_t, FunctionRef<void(int64_t, int64_t)> body) override {
    if (count > 0) body(0, count);
  }
};

}  // namespace moe::test
