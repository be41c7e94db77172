#include "core/routing/router_topk.h"

#include <algorithm>

namespace moe {
namespace {

// Values at or below the worst of the best so far are passed over this many at a time.
constexpr int32_t kStride = 8;

bool any_above(const float* values, float bound) {
  int32_t above = 0;
  for (int32_t i = 0; i < kStride; ++i) above |= values[i] > bound;
  return above != 0;
}

// Puts (value, index) behind the values that are not smaller; the last of `size` places falls off.
void insert(float value, int32_t index, int32_t size, int32_t* indices, float* best) {
  int32_t place = size - 1;
  for (; place > 0 && value > best[place - 1]; --place) {
    best[place] = best[place - 1];
    indices[place] = indices[place - 1];
  }
  best[place] = value;
  indices[place] = index;
}

}  // namespace

void top_k(const float* values, int32_t count, int32_t k, int32_t* indices, float* best) {
  for (int32_t i = 0; i < k; ++i) insert(values[i], i, i + 1, indices, best);
  int32_t i = k;
  while (i < count) {
    if (i + kStride <= count && !any_above(values + i, best[k - 1])) {
      i += kStride;
      continue;
    }
    for (const int32_t end = std::min(i + kStride, count); i < end; ++i)
      if (values[i] > best[k - 1]) insert(values[i], i, k, indices, best);
  }
}

}  // namespace moe
