// A number whose bits all depend on all of another's: for hashes, and for random numbers that are counted.
#pragma once
#include <cstdint>

namespace moe {

// The finaliser of SplitMix64, behind its step.
constexpr uint64_t mixed_bits(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace moe
