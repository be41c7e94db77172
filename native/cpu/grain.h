#pragma once
#include <algorithm>
#include <cstdint>

namespace moe::cpu {

// Pieces of row-wise work are at least this many floats: a few microseconds.
constexpr int64_t kGrainFloats = 32768;

// How many items of that many floats make a piece.
constexpr int64_t grain_for(int64_t floats_per_item) {
  return std::max<int64_t>(1, kGrainFloats / std::max<int64_t>(1, floats_per_item));
}

}  // namespace moe::cpu
