// One block: its warps, its shared memory and its barriers.
#pragma once
#include <array>
#include <vector>

#include "cuda/ptx/machine.h"
#include "cuda/ptx/shared_memory.h"
#include "cuda/ptx/warp.h"

namespace moe::ptx {

// Addresses beyond every other space stand for shared and local memory where an instruction names no space.
constexpr uint64_t kSharedWindow = 1ull << 60, kLocalWindow = 1ull << 61;

enum class Reduction : uint8_t { kNone, kAnd, kOr, kPopc };

struct Barrier {
  std::vector<uint32_t> warps;  // that arrived
  uint32_t threads = 0, expected = 0;
  uint32_t votes = 0, voters = 0;
  Reduction reduction = Reduction::kNone;
};

// Kept by a host thread from block to block, so that nothing is allocated twice.
struct Block {
  const Kernel* kernel = nullptr;
  const Launch* launch = nullptr;
  DeviceMemory* memory = nullptr;
  const Limits* limits = nullptr;
  uint32_t launch_number = 0, number = 0, passed_barriers = 0;
  Dim3 position;
  uint32_t threads = 0;
  SharedMemory shared;
  std::vector<uint8_t> local;  // [threads, local_bytes]
  std::vector<uint8_t> known_local;
  std::vector<Warp> warps;
  std::array<Barrier, 16> barriers;
  Counters counters;
  uint64_t budget = 0;

  Block(const Kernel& kernel, const Launch& launch, DeviceMemory& memory, const Limits& limits, uint32_t launch_number);

  void run(uint32_t number);

  Accessor accessor(const Warp& warp, uint32_t lane) const {
    return {launch_number, number, passed_barriers, warp.index * kLanes + lane};
  }
  // The warp's executing lanes arrive; without `waits` they go on.
  void arrive(Warp& warp, uint32_t barrier, uint32_t expected, bool waits);

 private:
  void start(uint32_t number);
  void run_warp(Warp& warp);
  void release(Barrier& barrier);
  [[noreturn]] void deadlock() const;
};

}  // namespace moe::ptx
