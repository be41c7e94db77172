#include "core/weights/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/weights/float16.h"

// Compiled for several instruction sets, chosen when the library is loaded. Every one adds in the same order.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define MOE_FOR_EACH_ISA __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MOE_FOR_EACH_ISA
#endif
// A vector that is passed to a function of other instructions arrives as something else: all of it is one function.
#define MOE_INLINED __attribute__((always_inline))
#define MOE_INLINE inline MOE_INLINED

namespace moe {
namespace {

constexpr float kRounder = 12582912.0f;   // 1.5 * 2^23: adding and subtracting it rounds to an integer
constexpr float kLeastScale = 0x1p-100f;  // weights so small are zero

// Sixteen floats, in as many registers as it takes.
constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t Integers __attribute__((vector_size(kLanes * sizeof(float))));
typedef int8_t Bytes __attribute__((vector_size(kLanes)));

template <class Vector, class Element>
MOE_INLINE Vector load(const Element* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

MOE_INLINE void round(Floats& values, float low, float high) {
  values = values < low ? low : values;
  values = values > high ? high : values;
  values = (values + kRounder) - kRounder;
}

// Counts are multiples of kLanes from here on.

// One value from all lanes, in the order of a tree: each time, the upper half of what is left joins the lower one.
template <class Vector, class Combine>
MOE_INLINE auto reduce(Vector vector, Combine combine) {
  vector =
      combine(vector, __builtin_shufflevector(vector, vector, 8, 9, 10, 11, 12, 13, 14, 15, 0, 0, 0, 0, 0, 0, 0, 0));
  vector = combine(vector, __builtin_shufflevector(vector, vector, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
  vector = combine(vector, __builtin_shufflevector(vector, vector, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
  vector = combine(vector, __builtin_shufflevector(vector, vector, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
  return vector[0];
}

// The weight of largest magnitude, the positive one of two; NaN when one is not finite.
MOE_INLINE float find_extreme(const float* weights, int64_t count) {
  Floats high = {}, low = {};
  Integers bits = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats values = load<Floats>(weights + i);
    const Integers magnitude = load<Integers>(weights + i) & 0x7fffffff;
    high = values > high ? values : high;
    low = values < low ? values : low;
    bits = magnitude > bits ? magnitude : bits;
  }
  const auto at_most = [](auto a, auto b) MOE_INLINED { return b < a ? b : a; };
  const auto at_least = [](auto a, auto b) MOE_INLINED { return b > a ? b : a; };
  if (reduce(bits, at_least) >= 0x7f800000) return std::numeric_limits<float>::quiet_NaN();
  const float highest = reduce(high, at_least), lowest = reduce(low, at_most);
  return highest >= -lowest ? highest : lowest;
}

MOE_INLINE void round_all(const float* weights, int64_t count, float inverse, float low, float high, int8_t* q) {
  for (int64_t i = 0; i < count; i += kLanes) {
    Floats values = load<Floats>(weights + i) * inverse;
    round(values, low, high);
    const Bytes bytes = __builtin_convertvector(__builtin_convertvector(values, Integers), Bytes);
    std::memcpy(q + i, &bytes, sizeof bytes);
  }
}

// What fitting a scale takes to weights that are rounded once the extreme one became `target`: sums of weight * q, in
// units of the extreme weight, and of q^2.
struct Fit {
  float weight_q, q_q;
};

MOE_INLINE Fit fit_int4(const float* weights, int64_t count, float extreme, float target) {
  const float inverse = 1.0f / extreme;
  Floats weight_q = {}, q_q = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Floats values = load<Floats>(weights + i) * inverse;
    Floats q = values * target;
    round(q, -8.0f, 7.0f);
    weight_q += values * q;
    q_q += q * q;
  }
  const auto add = [](auto a, auto b) MOE_INLINED { return a + b; };
  return {reduce(weight_q, add), reduce(q_q, add)};
}

MOE_INLINE uint16_t bfloat16_not_below(float value) {
  return static_cast<uint16_t>((std::bit_cast<uint32_t>(value) + 0xffff) >> 16);
}

MOE_INLINE uint16_t int8_scale(float extreme) { return bfloat16_not_below(std::abs(extreme) / 127.0f); }

// The squared error of rounded weights with their best scale is sum(w^2) - sum(w q)^2 / sum(q^2).
MOE_INLINE uint16_t int4_scale(const float* weights, int64_t count, float extreme) {
  // What the extreme weight is rounded from: -8 uses the whole range, less leaves it some, more cuts it off. Three of
  // them come within 1 % of the error of fifty (8.2 % of Gaussian weights in groups of 32).
  constexpr float kTargets[] = {-8.0f, -7.3f, -8.7f};
  double best = -1;
  float scale = 0;
  for (const float target : kTargets) {
    const Fit fit = fit_int4(weights, count, extreme, target);
    const double gain = static_cast<double>(fit.weight_q) * fit.weight_q / fit.q_q;
    if (gain > best) {
      best = gain;
      scale = extreme * (fit.weight_q / fit.q_q);
    }
  }
  return to_bfloat16(scale);
}

MOE_FOR_EACH_ISA uint16_t quantize_group(WeightType type, const float* weights, int64_t count, int8_t* q) {
  const float extreme = find_extreme(weights, count);
  const bool int8 = type == WeightType::kInt8;
  if (!(std::abs(extreme) >= kLeastScale * 127.0f)) {
    std::fill(q, q + count, int8_t{0});
    return extreme == extreme ? 0 : to_bfloat16(extreme);
  }
  const uint16_t scale = int8 ? int8_scale(extreme) : int4_scale(weights, count, extreme);
  const float inverse = 1.0f / from_bfloat16(scale);
  round_all(weights, count, inverse, int8 ? -127.0f : -8.0f, int8 ? 127.0f : 7.0f, q);
  return scale;
}

}  // namespace

void quantize(WeightType type, const float* weights, int64_t count, int64_t group, int8_t* q, uint16_t* scales) {
  const int64_t size = group == 0 ? count : group;
  for (int64_t begin = 0; begin < count; begin += size) {
    const int64_t in_group = std::min(size, count - begin);
    if (in_group % kLanes == 0) {
      *scales++ = quantize_group(type, weights + begin, in_group, q + begin);
    } else {
      const int64_t padded = (in_group + kLanes - 1) / kLanes * kLanes;
      std::vector<float> with_zeros(padded);
      std::vector<int8_t> rounded(padded);
      std::copy_n(weights + begin, in_group, with_zeros.data());
      *scales++ = quantize_group(type, with_zeros.data(), padded, rounded.data());
      std::copy_n(rounded.data(), in_group, q + begin);
    }
  }
}

}  // namespace moe
