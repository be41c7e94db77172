// One block's shared memory, with a vector clock per warp: every access is ordered with every conflicting one, or it is
// a race.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/ptx/fault.h"

namespace moe::ptx {

class SharedMemory {
 public:
  static constexpr uint8_t kWholeWarp = 32;  // as a lane: an access the warp makes as one

  // A new block: contents undefined, nothing ordered after anything.
  void reset(uint32_t bytes, uint32_t warps);

  uint32_t bytes() const { return static_cast<uint32_t>(memory_.size()); }
  uint8_t* at(uint32_t address) { return memory_.data() + address; }
  // Throws Fault outside of the block's shared memory.
  void check_bounds(uint64_t address, uint32_t bytes, const char* access) const {
    if (address + bytes > memory_.size()) refuse(address, bytes, access);
  }

  bool defined(uint32_t address, uint32_t bytes) const;
  void define(uint32_t address, uint32_t bytes, bool value = true);

  // Records the access. Throws Fault on a race.
  void read(uint32_t warp, uint8_t lane, uint32_t address, uint32_t bytes);
  void write(uint32_t warp, uint8_t lane, uint32_t address, uint32_t bytes);
  // Atomic operations do not race with one another.
  void update(uint32_t warp, uint8_t lane, uint32_t address, uint32_t bytes);
  // A copy is under way: until `land`, every other access is a race, the same thread's too.
  void begin_copy(uint32_t warp, uint8_t lane, uint32_t address, uint32_t bytes);
  void land_copy(uint32_t warp, uint8_t lane, uint32_t address, uint32_t bytes);

  // What these warps did until now happens before what they do from now on.
  void synchronize(const std::vector<uint32_t>& warps);
  // The same among the lanes of one warp.
  void synchronize_warp(uint32_t warp) { ++clock(warp, warp); }

 private:
  // The last write of a piece of memory, atomic operations since, and who read it since.
  struct Cell {
    uint32_t write_clock = 0, atomic_clock = 0;
    uint32_t readers = 0;  // mask of warps
    uint8_t write_warp = 0, write_lane = 0, atomic_warp = 0, atomic_lane = 0;
    bool written = false, atomic = false, copying = false;
    bool split = false;  // its parts have cells of their own
  };
  struct Access {
    const char* name;
    uint32_t warp;
    uint8_t lane;
    bool atomic = false;
  };
  // A granule that is accessed as one has one cell; else one per word, or one per byte of a word.
  static constexpr uint32_t kGranule = 16, kWords = 1, kBytes = 5, kCells = 21;

  [[noreturn]] void refuse(uint64_t address, uint32_t bytes, const char* access) const;
  [[noreturn]] void race(uint32_t cell, const Access& now, const char* earlier, uint32_t warp, uint8_t lane) const;
  uint32_t& clock(uint32_t of, uint32_t about) { return clocks_[of * warps_ + about]; }
  bool ordered(uint32_t warp, uint8_t lane, uint32_t clock, uint32_t now_warp, uint8_t now_lane) const;
  void check_against_writes(uint32_t cell, const Access& now);
  void check_against_reads(uint32_t cell, const Access& now);
  void record_read(uint32_t cell, const Access& now);
  void record_write(uint32_t cell, const Access& now);
  void split(uint32_t cell, uint32_t first_part);
  void merge(uint32_t cell, uint32_t first_part);
  template <class Each>
  void each_cell(uint32_t address, uint32_t bytes, bool writes, Each each);

  std::vector<uint8_t> memory_, defined_;
  std::vector<Cell> cells_;        // [granules, 21]: the granule's, its words', its bytes'
  std::vector<uint32_t> touched_;  // [granules], the block that used its cells last
  std::vector<uint32_t> reads_;    // [cells, warps]: clock * 64 + lane of the last read
  std::vector<uint32_t> clocks_;   // [warps, warps]
  uint32_t warps_ = 0, block_ = 0;
};

}  // namespace moe::ptx
