// Threads for the little work that stays on the host: packing weights, and routing that no operator can do.
#pragma once
#include "core/host/executor.h"

namespace moe::ascend {

// Threads are started per loop and only where the loop is long enough for more than one.
class HostExecutor final : public Executor {
 public:
  // threads: at most this many, the calling one among them; 0: as many as the machine runs at once.
  explicit HostExecutor(int threads);

  void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body) override;

 private:
  int threads_;
};

}  // namespace moe::ascend
