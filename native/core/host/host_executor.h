// Threads for the little work of other devices that stays on the host: packing weights, and routing that no operator
// can do.
#pragma once
#include "core/host/executor.h"
#include "core/host/usable_cpus.h"

namespace moe {

// Threads are started per loop and only where the loop is long enough for more than one.
class HostExecutor final : public Executor {
 public:
  // Takes at most so many threads, the calling one among them, and no more than the process may use; 0 asks for those.
  explicit HostExecutor(int threads, int usable = usable_cpus_at_start());
  int threads() const { return threads_; }

  void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body) override;

 private:
  int threads_;
};

}  // namespace moe
