#include "cuda/ptx/block.h"

#include <algorithm>
#include <sstream>

namespace moe::ptx {
namespace {

uint64_t special_value(const Block& block, const Warp& warp, Special which, uint32_t lane) {
  const Dim3 size = block.launch->block, grid = block.launch->grid;
  const uint32_t thread = warp.index * kLanes + lane;
  switch (which) {
    case Special::kTidX:
      return thread % size.x;
    case Special::kTidY:
      return thread / size.x % size.y;
    case Special::kTidZ:
      return thread / (size.x * size.y);
    case Special::kNtidX:
      return size.x;
    case Special::kNtidY:
      return size.y;
    case Special::kNtidZ:
      return size.z;
    case Special::kCtaidX:
      return block.position.x;
    case Special::kCtaidY:
      return block.position.y;
    case Special::kCtaidZ:
      return block.position.z;
    case Special::kNctaidX:
      return grid.x;
    case Special::kNctaidY:
      return grid.y;
    case Special::kNctaidZ:
      return grid.z;
    case Special::kLaneid:
      return lane;
    case Special::kWarpid:
      return warp.index;
    case Special::kLanemaskLt:
      return (1u << lane) - 1;
    case Special::kLanemaskLe:
      return (2u << lane) - 1;
    case Special::kLanemaskGt:
      return ~((2u << lane) - 1);
    case Special::kLanemaskGe:
      return ~((1u << lane) - 1);
    case Special::kLanemaskEq:
      return 1u << lane;
    case Special::kSmid:
      return block.number % block.limits->sms;
    case Special::kNsmid:
      return block.limits->sms;
    case Special::kClock:
      return 0;
    case Special::kDynamicSharedBytes:
      return block.launch->shared_bytes;
    case Special::kDynamicSharedStart:
      return (block.kernel->shared_bytes + block.kernel->dynamic_alignment - 1) / block.kernel->dynamic_alignment *
             block.kernel->dynamic_alignment;
  }
  return 0;
}

void fill(Warp& warp, Unit unit, uint32_t bytes, uint64_t value, uint32_t lane) {
  if (bytes == 8)
    warp.reg<uint64_t>(unit)[lane] = value;
  else if (bytes == 4)
    warp.reg<uint32_t>(unit)[lane] = static_cast<uint32_t>(value);
  else
    warp.reg<uint16_t>(unit)[lane] = static_cast<uint16_t>(value);
}

}  // namespace

Block::Block(const Kernel& kernel_, const Launch& launch_, DeviceMemory& memory_, const Limits& limits_,
             uint32_t launch_number_)
    : kernel(&kernel_), launch(&launch_), memory(&memory_), limits(&limits_), launch_number(launch_number_) {
  threads = static_cast<uint32_t>(launch->block.count());
  counters.executed.assign(kernel->code.size(), 0);
  warps.resize((threads + kLanes - 1) / kLanes);
  local.resize(static_cast<size_t>(threads) * kernel->local_bytes);
  for (uint32_t index = 0; index < warps.size(); ++index) {
    Warp& warp = warps[index];
    warp.block = this;
    warp.index = index;
    warp.file.resize(static_cast<size_t>(kernel->units) * kLanes);
    warp.known.resize(kernel->units);
    warp.predicates.resize(kernel->predicates);
    warp.known_predicates.resize(kernel->predicates);
    for (const Constant& constant : kernel->constants)
      for (uint32_t lane = 0; lane < kLanes; ++lane) fill(warp, constant.unit, constant.bytes, constant.value, lane);
  }
}

void Block::start(uint32_t block_number) {
  number = block_number;
  passed_barriers = 0;
  budget = limits->instructions;
  position = {number % launch->grid.x, number / launch->grid.x % launch->grid.y,
              number / (launch->grid.x * launch->grid.y)};
  const uint32_t dynamic = launch->shared_bytes;
  const auto start = static_cast<uint32_t>(special_value(*this, warps[0], Special::kDynamicSharedStart, 0));
  shared.reset(dynamic > 0 ? start + dynamic : kernel->shared_bytes, static_cast<uint32_t>(warps.size()));
  std::ranges::fill(local, 0xff);
  known_local.assign(local.size(), 0);
  for (Barrier& barrier : barriers) barrier = {};
  for (Warp& warp : warps) {
    const uint32_t rest = threads - warp.index * kLanes;
    warp.alive = warp.active = rest >= kLanes ? kAllLanes : (1u << rest) - 1;
    warp.pc = 0;
    warp.stop = kAllLanes;
    warp.waiting.clear();
    warp.barrier = -1;
    warp.copies.clear();
    std::ranges::fill(warp.committed, 0u);
    std::ranges::fill(warp.known, 0u);
    std::ranges::fill(warp.known_predicates, 0u);
    for (const Constant& constant : kernel->constants) warp.known[constant.unit] = kAllLanes;
    for (const SpecialRegister& special : kernel->specials) warp.known[special.unit] = kAllLanes;
    for (const SpecialRegister& special : kernel->specials)
      for (uint32_t lane = 0; lane < kLanes; ++lane)
        fill(warp, special.unit, special.bytes, special_value(*this, warp, special.which, lane), lane);
  }
}

void Block::run(uint32_t block_number) {
  start(block_number);
  ++counters.blocks;
  for (bool ran = true; ran;) {
    ran = false;
    for (Warp& warp : warps) {
      if (warp.alive == 0 || warp.barrier >= 0) continue;
      run_warp(warp);
      ran = true;
      if (warp.alive == 0)
        for (Barrier& barrier : barriers) release(barrier);
    }
  }
  for (const Warp& warp : warps)
    if (warp.alive != 0) deadlock();
}

void Block::run_warp(Warp& warp) {
  const Instruction* const code = kernel->code.data();
  uint64_t* const executed = counters.executed.data();
  // Warps take turns, so that one that polls what another writes does not keep it from writing.
  constexpr uint64_t kTurn = 1 << 16;
  const uint64_t turn = std::min(budget, kTurn);
  uint64_t left = turn;
  warp.yield = false;
  while (left > 0) {
    --left;
    const uint32_t at = warp.pc;
    const Instruction& instruction = code[at];
    ++executed[at];
    ++warp.pc;
    uint32_t lanes = warp.active;
    try {
      if (instruction.guard >= 0) {
        if (warp.active & ~warp.known_predicates[instruction.guard])
          throw Fault(FaultKind::kUndefined, "a branch or guard depends on a value nobody wrote");
        const uint32_t holds = warp.predicates[instruction.guard];
        lanes &= instruction.guard_negated ? ~holds : holds;
      }
      if (lanes != 0) {
        warp.executing = lanes;
        instruction.run(warp, instruction);
      }
    } catch (const Fault& fault) {
      std::ostringstream text;
      text << name_of(fault.kind()) << ": " << fault.what() << " (block " << number << ", warp " << warp.index
           << ", line " << instruction.line << ")";
      throw Fault(fault.kind(), text.str());
    }
    if (warp.yield) break;
    if (warp.pc >= warp.stop) warp.suspend_and_choose();
  }
  budget -= turn - left;
  if (budget == 0)
    throw Fault(FaultKind::kTooLong, "a block has run " + std::to_string(limits->instructions) +
                                         " warp instructions without coming to its end");
}

void Block::arrive(Warp& warp, uint32_t index, uint32_t expected, bool waits) {
  if (index >= barriers.size()) throw Fault(FaultKind::kBarrier, "there is no barrier " + std::to_string(index));
  if (warp.executing != warp.alive)
    throw Fault(FaultKind::kBarrier, "a barrier that some threads of the warp do not reach");
  Barrier& barrier = barriers[index];
  if (expected != 0 && (expected % kLanes != 0 || (barrier.expected != 0 && barrier.expected != expected)))
    throw Fault(FaultKind::kBarrier, "barrier " + std::to_string(index) + " for " + std::to_string(expected) +
                                         " threads: not a whole number of warps, or not what others said");
  barrier.expected = expected;
  barrier.warps.push_back(warp.index);
  barrier.threads += kLanes;
  if (waits) {
    warp.barrier = static_cast<int>(index);
    warp.yield = true;
  }
  release(barrier);
}

// Without a count the barrier waits for every warp that has not ended, which `run` finds out as warps end.
void Block::release(Barrier& barrier) {
  if (barrier.warps.empty()) return;
  if (barrier.expected != 0) {
    if (barrier.threads < barrier.expected) return;
  } else {
    const auto here = [&](const Warp& warp) { return std::ranges::count(barrier.warps, warp.index) > 0; };
    for (const Warp& warp : warps)
      if (warp.alive != 0 && !here(warp)) return;
  }
  shared.synchronize(barrier.warps);
  const auto index = static_cast<int>(&barrier - barriers.data());
  for (Warp& warp : warps)
    if (warp.barrier == index) {
      warp.barrier = -1;
      if (barrier.reduction != Reduction::kNone) {
        // The result of bar.red: to every thread alike.
        const uint32_t value = barrier.reduction == Reduction::kPopc  ? barrier.votes
                               : barrier.reduction == Reduction::kAnd ? barrier.votes == barrier.voters
                                                                      : barrier.votes != 0;
        warp.executing = warp.alive;
        if (barrier.reduction == Reduction::kPopc) {
          uint32_t values[kLanes];
          std::ranges::fill(values, value);
          warp.store(warp.barrier_result, values, kAllLanes);
        } else {
          warp.store_predicate(warp.barrier_result, value ? kAllLanes : 0, kAllLanes);
        }
      }
    }
  barrier = {};
  ++passed_barriers;
}

void Block::deadlock() const {
  std::ostringstream text;
  text << "deadlock: every warp waits:";
  for (const Warp& warp : warps)
    if (warp.alive != 0)
      text << " warp " << warp.index << " at barrier " << warp.barrier << " (line " << kernel->code[warp.pc - 1].line
           << ")";
  throw Fault(FaultKind::kDeadlock, text.str());
}

}  // namespace moe::ptx
