// Runs kernels. A launch's blocks run on a few host threads, each block's warps one after another between barriers.
#pragma once
#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cuda/ptx/device_memory.h"
#include "cuda/ptx/module.h"

namespace moe::ptx {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return static_cast<uint64_t>(x) * y * z; }
};

struct Launch {
  Dim3 grid, block;
  uint32_t shared_bytes = 0;        // dynamic
  std::vector<uint8_t> parameters;  // laid out as Kernel::parameters says
};

enum class BlockOrder { kForward, kBackward, kShuffled };

struct Limits {
  uint32_t shared_bytes = 99 * 1024;    // static and dynamic, per block
  uint64_t instructions = 400'000'000;  // warp instructions of one block
  uint32_t sms = 4;                     // what %nsmid says
  uint32_t threads = 2;                 // of the host
  BlockOrder order = BlockOrder::kForward;
};

// What a launch did. Phases are the passes through shared memory's 32 banks, sectors the 32-byte pieces of global
// memory; `least` is what the same bytes would have needed without a conflict or a stray byte.
struct Counters {
  std::vector<uint64_t> executed;  // per instruction of Kernel::code
  uint64_t shared_phases = 0, least_shared_phases = 0;
  uint64_t matrix_phases = 0, least_matrix_phases = 0;  // ldmatrix alone
  uint64_t copy_phases = 0, least_copy_phases = 0;      // cp.async's writes to shared memory
  uint64_t sectors = 0, least_sectors = 0;
  uint64_t blocks = 0;

  void add(const Counters& other);
};

class Machine {
 public:
  Machine(DeviceMemory& memory, Limits limits) : memory_(memory), limits_(limits) {}

  // Returns when every block has ended. Throws Fault, with the kernel, the block, the warp and the instruction.
  Counters run(const Module& module, const Kernel& kernel, const Launch& launch);

  DeviceMemory& memory() { return memory_; }
  Limits& limits() { return limits_; }

 private:
  DeviceMemory& memory_;
  Limits limits_;
  std::atomic<uint32_t> launches_{0};
};

// Puts arguments, one pointer each as cudaLaunchKernel takes them, where the kernel looks for its parameters.
std::vector<uint8_t> pack_parameters(const Kernel& kernel, std::span<const void* const> arguments);

}  // namespace moe::ptx
