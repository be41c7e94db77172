// A warp at work: its registers, the groups its lanes have split into, and the helpers every handler uses.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cuda/ptx/program.h"

namespace moe::ptx {

struct Block;

constexpr uint32_t kLanes = 32, kAllLanes = ~0u;

// Lanes that share a program counter.
struct LaneGroup {
  uint32_t pc, lanes;
  bool blocked;  // until other lanes come to the same pc
};

// Copies one instruction started, until each lane has waited for its own.
struct AsyncCopy {
  uint32_t pending;  // lanes
  uint8_t bytes;
  uint32_t shared[kLanes];
  uint64_t global[kLanes];
  uint8_t source_bytes[kLanes];
  uint32_t group[kLanes];  // of the lane, counted from 0
};

struct Warp {
  Block* block = nullptr;
  uint32_t index = 0;                // in the block
  std::vector<uint32_t> file;        // [units, 32]
  std::vector<uint32_t> known;       // [units], lanes whose value was computed from what was written
  std::vector<uint32_t> predicates;  // [predicates], lanes where it is true
  std::vector<uint32_t> known_predicates;
  uint32_t executing = 0;  // lanes this instruction is for
  uint32_t active = 0;     // lanes of the group that runs
  uint32_t alive = 0;
  uint32_t pc = 0;                  // of the next instruction
  uint32_t stop = kAllLanes;        // where the next waiting group stands
  std::vector<LaneGroup> waiting;   // highest pc first: the group with the lowest pc runs, so lanes reconverge
  bool yield = false;               // leave the loop: a barrier, or the end
  int barrier = -1;                 // it waits at
  Unit barrier_result = 0;          // of bar.red
  std::vector<AsyncCopy> copies;    // in order of issue
  uint32_t committed[kLanes] = {};  // groups of copies, per lane

  template <class T>
  T* reg(Unit unit) {
    return reinterpret_cast<T*>(file.data() + static_cast<size_t>(unit) * kLanes);
  }
  template <class T>
  const T* reg(Unit unit) const {
    return reinterpret_cast<const T*>(file.data() + static_cast<size_t>(unit) * kLanes);
  }

  // Writes a result to the executing lanes; `knowable` are those whose operands were known.
  template <class T>
  void store(Unit unit, const T (&values)[kLanes], uint32_t knowable) {
    T* const to = reg<T>(unit);
    if (executing == kAllLanes)
      std::memcpy(to, values, sizeof values);
    else
      for (uint32_t lanes = executing; lanes != 0; lanes &= lanes - 1) {
        const int lane = std::countr_zero(lanes);
        to[lane] = values[lane];
      }
    known[unit] = (known[unit] & ~executing) | (knowable & executing);
  }
  void store_predicate(Unit predicate, uint32_t values, uint32_t knowable) {
    predicates[predicate] = (predicates[predicate] & ~executing) | (values & executing);
    known_predicates[predicate] = (known_predicates[predicate] & ~executing) | (knowable & executing);
  }

  // Sends the executing lanes to `target`; the others of the group go on.
  void branch(uint32_t target);
  // Lanes wait until no group has a lower pc; those that share one become one group.
  void wait_at(uint32_t at, uint32_t lanes);
  // The running group waits, too, and the lowest runs.
  void suspend_and_choose();
  // The running group stays at the instruction it is at until other lanes come there, too.
  void await_lanes();
  void exit_lanes();
};

// Throws Fault unless every executing lane's operand is known.
void require_known(const Warp& warp, Unit unit, const char* what);

template <class Each>
void for_each_lane(uint32_t lanes, Each each) {
  for (; lanes != 0; lanes &= lanes - 1) each(static_cast<uint32_t>(std::countr_zero(lanes)));
}

}  // namespace moe::ptx
