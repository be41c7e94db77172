// Weights as small integers with a bfloat16 scale for each group: weight = q * scale. Plain arithmetic on the vectors
// of four floats that every machine has, in sixteen lanes whatever it has beside them: all add in the same order, so
// that every device holds the same numbers.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/weights/float16.h"

namespace moe {
namespace {

constexpr float kRounder = 12582912.0f;   // 1.5 * 2^23: what it is added to is rounded, its last bits are the integer
constexpr float kLeastScale = 0x1p-100f;  // weights so small are zero

constexpr int64_t kLanes = 16, kQuads = 4;  // quads of lanes
typedef float Quad __attribute__((vector_size(16)));
typedef int32_t Bits __attribute__((vector_size(16)));
typedef int16_t Halves __attribute__((vector_size(16)));

Quad load(const float* from) {
  Quad values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

// Counts are multiples of kLanes from here on.

template <class Vector, class Combine>
auto reduce(Vector vector, const Combine& combine) {
  vector = combine(vector, __builtin_shufflevector(vector, vector, 2, 3, 0, 1));
  return combine(vector, __builtin_shufflevector(vector, vector, 1, 0, 3, 2))[0];
}

// The weight of largest magnitude, the positive one of two; NaN when one is not finite.
float find_extreme(const float* weights, int64_t count) {
  Quad high = {}, low = {};
  Bits poison = {};  // not zero as soon as one is not finite
  for (int64_t i = 0; i < count; i += 4) {
    const Quad values = load(weights + i);
    high = values > high ? values : high;
    low = values < low ? values : low;
    poison |= reinterpret_cast<Bits>(values - values);
  }
  if (reduce(poison, [](Bits a, Bits b) { return a | b; }) != 0) return std::numeric_limits<float>::quiet_NaN();
  const float highest = reduce(high, [](Quad a, Quad b) { return a > b ? a : b; });
  const float lowest = reduce(low, [](Quad a, Quad b) { return a < b ? a : b; });
  return highest >= -lowest ? highest : lowest;
}

// The largest magnitude is 127 scales or a little less.
struct Int8 {
  static Quad round(Quad values) { return values + kRounder; }  // no weight is beyond 127 scales
  static uint16_t scale(const float*, int64_t, float extreme) {
    return static_cast<uint16_t>((std::bit_cast<uint32_t>(std::abs(extreme) / 127.0f) + 0xffff) >> 16);
  }
};

// What the extreme weight is rounded from: -8 uses the whole range, less leaves it some, more cuts it off. Three of
// them come within 1 % of the error of fifty (8.2 % of Gaussian weights in groups of 32).
constexpr float kTargets[] = {-8.0f, -7.3f, -8.7f};
constexpr int kTries = 3;

// What fitting a scale takes to weights that are rounded once the extreme one became a target: sums of weight * q, in
// units of the extreme weight, and of q^2.
struct Fits {
  Quad weight_q[kTries], q_q[kTries];
};

// The scale has the least squared error of some.
struct Int4 {
  // Clamps the last bits, as halves of floats: that takes an instruction for each bound.
  static Quad round(Quad values) {
    constexpr Halves kLow = {-8, INT16_MIN, -8, INT16_MIN, -8, INT16_MIN, -8, INT16_MIN};
    constexpr Halves kHigh = {7, INT16_MAX, 7, INT16_MAX, 7, INT16_MAX, 7, INT16_MAX};
    auto halves = reinterpret_cast<Halves>(values + kRounder);
    halves = halves < kLow ? kLow : halves;
    return reinterpret_cast<Quad>(halves > kHigh ? kHigh : halves);
  }

  // Of one of the quads of lanes.
  static Fits fit(const float* weights, int64_t count, float inverse) {
    Fits fits{};
    for (int64_t i = 0; i < count; i += kLanes) {
      const Quad values = load(weights + i) * inverse;
      for (int t = 0; t < kTries; ++t) {
        const Quad q = round(values * kTargets[t]) - kRounder;
        fits.weight_q[t] += values * q;
        fits.q_q[t] += q * q;
      }
    }
    return fits;
  }

  // The squared error of rounded weights with their best scale is sum(w^2) - sum(w q)^2 / sum(q^2).
  static uint16_t scale(const float* weights, int64_t count, float extreme) {
    Fits fits[kQuads];
    for (int64_t quad = 0; quad < kQuads; ++quad) fits[quad] = fit(weights + 4 * quad, count, 1.0f / extreme);
    // In the order of a tree: each time, the upper half of what is left joins the lower one.
    const auto add_up = [&](const Quad(Fits::*sums)[kTries], int t) {
      const Quad sum = ((fits[0].*sums)[t] + (fits[2].*sums)[t]) + ((fits[1].*sums)[t] + (fits[3].*sums)[t]);
      return (sum[0] + sum[2]) + (sum[1] + sum[3]);
    };
    double gains[kTries];
    float scales[kTries];
    for (int t = 0; t < kTries; ++t) {
      const float weight_q = add_up(&Fits::weight_q, t), q_q = add_up(&Fits::q_q, t);
      gains[t] = static_cast<double>(weight_q) * weight_q / q_q;
      scales[t] = extreme * (weight_q / q_q);
    }
    int best = 0;
    for (int t = 1; t < kTries; ++t) best = gains[t] > gains[best] ? t : best;
    return to_bfloat16(scales[best]);
  }
};

// A group with a weight that is not finite gets the scale NaN and q = 0.
template <class Integers>
uint16_t encode_group(const float* weights, int64_t count, int8_t* q) {
  const float extreme = find_extreme(weights, count);
  if (!(std::abs(extreme) >= kLeastScale * 127.0f)) {
    std::fill(q, q + count, int8_t{0});
    return extreme == extreme ? 0 : to_bfloat16(extreme);
  }
  const uint16_t scale = Integers::scale(weights, count, extreme);
  const float inverse = 1.0f / from_bfloat16(scale);
  for (int64_t i = 0; i < count; i += kLanes) {
    int32_t bits[kLanes];
    for (int64_t l = 0; l < kLanes; l += 4) {
      const Quad rounded = Integers::round(load(weights + i + l) * inverse);
      std::memcpy(bits + l, &rounded, sizeof rounded);
    }
    for (int64_t l = 0; l < kLanes; ++l) q[i + l] = static_cast<int8_t>(bits[l]);
  }
  return scale;
}

template <class Integers>
void encode(const float* weights, int64_t count, int64_t group, void* codes, void* scales) {
  const int64_t size = group == 0 ? count : group;
  auto* q = static_cast<int8_t*>(codes);
  for (int64_t begin = 0, index = 0; begin < count; begin += size, ++index) {
    const int64_t in_group = std::min(size, count - begin), rest = in_group % kLanes;
    uint16_t scale;
    if (rest == 0) {
      scale = encode_group<Integers>(weights + begin, in_group, q + begin);
    } else {  // filled up with zeros
      std::vector<float> filled(weights + begin, weights + begin + in_group);
      filled.resize(in_group + kLanes - rest);
      std::vector<int8_t> rounded(filled.size());
      scale = encode_group<Integers>(filled.data(), static_cast<int64_t>(filled.size()), rounded.data());
      std::copy_n(rounded.data(), in_group, q + begin);
    }
    std::memcpy(static_cast<uint16_t*>(scales) + index, &scale, sizeof scale);
  }
}

}  // namespace

void encode_int8(const float* weights, int64_t count, int64_t group, void* codes, void* scales) {
  encode<Int8>(weights, count, group, codes, scales);
}
void encode_int4(const float* weights, int64_t count, int64_t group, void* codes, void* scales) {
  encode<Int4>(weights, count, group, codes, scales);
}

void decode_integers(const void* codes, const void* scales, int64_t count, int64_t group, float* weights) {
  for (int64_t i = 0; i < count; ++i)
    weights[i] = static_cast<float>(static_cast<const int8_t*>(codes)[i]) *
                 from_bfloat16(static_cast<const uint16_t*>(scales)[group == 0 ? 0 : i / group]);
}

}  // namespace moe
