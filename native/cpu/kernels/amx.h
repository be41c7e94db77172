// What tile_products.h asks of tiles, by the instructions of AMX.
#pragma once

// Whether the CPU has tiles and multiplies bytes with them, and the system keeps tiles over a change of threads.
inline bool has_tiles() {
  constexpr uint32_t kSavesMore = 1u << 27, kTile = 1u << 24, kInt8 = 1u << 25, kStates = 1u << 17 | 1u << 18;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & kSavesMore)) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & kTile) || !(d & kInt8)) return false;
  uint32_t low = 0, high = 0;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kStates) == kStates;
}

// A Linux process asks for the room of tiles before it uses them, once for all its threads. It may be refused.
inline bool is_given_tiles() {
#if defined(__linux__)
  constexpr int64_t kArchPrctl = 158, kRequestPermission = 0x1023, kTileData = 18;
  int64_t result = kArchPrctl;
  asm volatile("syscall" : "+a"(result) : "D"(kRequestPermission), "S"(kTileData) : "rcx", "r11", "memory");
  return result == 0;
#else
  return false;
#endif
}

// The intrinsics of g++ are macros that take digits, not constants.
inline void configure_tiles(const TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config)); }
inline void release_tiles() { asm volatile("tilerelease"); }

template <int Tile>
void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "n"(Tile));
}

template <int Tile>
void tile_load(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "n"(Tile) : "memory");
}

template <int Tile>
void tile_store(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "n"(Tile) : "memory");
}

template <int Sums, int Rows, int Weights>
void tile_dot() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "n"(Sums), "n"(Rows), "n"(Weights));
}
