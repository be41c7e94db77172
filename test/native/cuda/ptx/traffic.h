// What a warp's access costs the memory system.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cuda/ptx/machine.h"
#include "cuda/ptx/warp.h"

namespace moe::ptx {

// Global memory moves in sectors of 32 bytes.
inline void count_sectors(Counters& counters, const uint64_t (&addresses)[kLanes], uint32_t lanes, uint32_t bytes) {
  uint64_t seen[kLanes * 2];
  uint32_t sectors = 0, distinct = 0;
  uint64_t last = ~0ull;
  for_each_lane(lanes, [&](uint32_t lane) {
    if (addresses[lane] != last) ++distinct;
    last = addresses[lane];
    for (uint64_t sector = last / 32; sector <= (last + bytes - 1) / 32; ++sector) {
      if (sectors > 0 && seen[sectors - 1] == sector) continue;
      if (std::find(seen, seen + sectors, sector) == seen + sectors) seen[sectors++] = sector;
    }
  });
  counters.sectors += sectors;
  counters.least_sectors += std::min(sectors, (distinct * bytes + 31) / 32);
}

// Shared memory has 32 banks of 4 bytes; a pass serves one word of each. 8-byte accesses go in two halves of the warp,
// 16-byte ones in four quarters. Lanes that share a word share its pass.
inline uint32_t shared_phases(const uint32_t (&addresses)[kLanes], uint32_t lanes, uint32_t bytes, uint32_t& least) {
  const uint32_t part = bytes == 16 ? 8 : bytes == 8 ? 16 : 32;
  uint32_t phases = 0;
  for (uint32_t first = 0; first < kLanes; first += part) {
    const uint32_t mask = part == 32 ? kAllLanes : ((1u << part) - 1) << first;
    if ((lanes & mask) == 0) continue;
    uint32_t words[32][8], count[32] = {}, most = 0;
    for_each_lane(lanes & mask, [&](uint32_t lane) {
      for (uint32_t word = addresses[lane] / 4; word * 4 < addresses[lane] + bytes; ++word) {
        const uint32_t bank = word % 32;
        const uint32_t kept = std::min(count[bank], 8u);
        if (std::find(words[bank], words[bank] + kept, word) != words[bank] + kept) continue;
        if (count[bank] < 8) words[bank][count[bank]] = word;
        most = std::max(most, ++count[bank]);
      }
    });
    phases += most;
    ++least;
  }
  return phases;
}

}  // namespace moe::ptx
