// The emulated device behind the stand-in of the CUDA runtime: memory, kernels, and what went wrong.
#pragma once
#include <cuda_runtime_api.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "cuda/ptx/machine.h"
#include "cuda/runtime/settings.h"

namespace moe::emulator {

class Stream;

struct KernelState {
  std::string name;
  int dynamic_shared_bytes = 48 * 1024;  // what cudaFuncSetAttribute allowed
};

class Device {
 public:
  static Device& instance();

  explicit Device(Settings settings);
  ~Device();

  const Settings& settings() const { return settings_; }
  ptx::DeviceMemory& memory() { return memory_; }

  // Says that the address of `stub` stands for the kernel `name`.
  void add_kernel(const void* stub, const char* name);
  KernelState* kernel_of(const void* stub);
  // Decodes it when it is first asked for. Throws ptx::Unsupported where no PTX has it.
  const ptx::Kernel& code_of(const std::string& name);
  void run(const std::string& name, const ptx::Launch& launch);

  // The first call that counts as this one's name: what it shall return instead of working, or cudaSuccess.
  cudaError_t intercept(const char* function);
  // A sticky error: every later call returns it. `message` goes into the report and into cudaGetErrorString.
  void lose(cudaError_t error, const std::string& message);
  void lose(const ptx::Fault& fault);
  cudaError_t lost() const { return lost_; }
  const std::string& reason() const { return reason_; }
  // A call the runtime would refuse. Returns `error` and remembers the message for the report.
  cudaError_t misuse(cudaError_t error, const std::string& message);

  // Host memory the device may read and write while the host goes on.
  void add_pinned(void* memory, size_t bytes);
  bool remove_pinned(void* memory);
  bool is_pinned(const void* memory, size_t bytes);

  // Things that must be gone at the end: "stream", "event", ...
  void count(const char* what, int change);
  void add_stream(Stream* stream);
  void remove_stream(Stream* stream);
  // Waits for every stream, as cudaFree does.
  void wait_for_streams();

  // Faults, misuse and leaks so far, a line each.
  std::vector<std::string> report();
  // For tests: forgets the messages and what was to fail.
  void reset();
  // The device is there again, empty, as for a new process.
  void recover();
  // Kernels from these texts, in place of those of the folder.
  void replace_modules(const std::vector<std::string>& texts);
  ptx::Limits& limits() { return machine_.limits(); }
  void fail(const std::string& function, int call, cudaError_t code);
  void lose_after(int launches);
  std::string profile();
  ptx::Counters counters(const std::string& kernel);  // of all its launches since they were forgotten
  void forget_counters();

 private:
  struct Total {
    uint64_t launches = 0;
    ptx::Counters counters;
  };

  Settings settings_;
  ptx::DeviceMemory memory_;
  ptx::Machine machine_;
  std::vector<std::unique_ptr<ptx::Module>> modules_;
  std::map<const void*, KernelState> kernels_;
  std::mutex mutex_;
  std::map<std::string, int> calls_;
  std::atomic<cudaError_t> lost_{cudaSuccess};
  std::string reason_;
  std::vector<std::string> messages_;
  std::map<uintptr_t, size_t> pinned_;
  std::map<std::string, int> live_;
  std::vector<Stream*> streams_;
  std::shared_mutex streams_alive_;  // held while others wait for streams, so that none is destroyed meanwhile
  std::atomic<int> launches_{0};
  std::map<std::string, Total> totals_;
  size_t module_allocations_ = 0;
  uint32_t first_allocation_ = 0;  // that is not a module's
};

// The error of this thread's last call that failed, until it is asked for.
cudaError_t remember(cudaError_t error);
cudaError_t take_last_error();

}  // namespace moe::emulator
