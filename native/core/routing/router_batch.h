// What both routing policies need around a batch: scratch that only grows, unroutable tokens, and sums over tokens.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/config.h"
#include "core/moe_stages.h"

namespace moe {

// Experts are summed over tokens in blocks of this many, and rows of scores are padded to a multiple of it.
constexpr int32_t kExpertBlock = 16;

constexpr int64_t padded_row(int32_t experts) {
  return (experts + int64_t{kExpertBlock} - 1) / kExpertBlock * kExpertBlock;
}

// At least `size` elements, old contents where they were: a steady state allocates nothing.
template <class T>
T* grow(std::vector<T>& scratch, int64_t size) {
  if (static_cast<int64_t>(scratch.size()) < size) scratch.resize(size);
  return scratch.data();
}

// Work on `elements_each` elements is worth another thread in pieces of this many items.
constexpr int64_t grain_for(int64_t elements_each) {
  return std::max<int64_t>(1, 8192 / std::max<int64_t>(1, elements_each));
}

// sums[i] += scale * row[i] for one block of experts.
inline void add_scaled(const float* row, double scale, double* sums) {
  for (int32_t i = 0; i < kExpertBlock; ++i) sums[i] += scale * static_cast<double>(row[i]);
}

// A token whose logits are not finite: expert -1 and weight NaN in every choice. Until drops are written, expert -1 in
// the first choice marks such a token.
inline void mark_unroutable(const RoutingArrays& out, int64_t token, int32_t top_k) {
  std::fill_n(out.experts + token * top_k, top_k, -1);
  std::fill_n(out.weights + token * top_k, top_k, std::numeric_limits<float>::quiet_NaN());
}

inline bool is_routable(const RoutingArrays& out, int64_t token, int32_t top_k) {
  return out.experts[token * top_k] >= 0;
}

}  // namespace moe
