// int4 of weights whose inputs count for more or less: the scale of a group has the least sum of importance * error^2.
#include <cstdint>
#include <initializer_list>

namespace moe {
namespace {

constexpr int kLanes = 4;
#include "core/weights/formats/scaled_integers.h"

using namespace scaled_integers;

// What the extreme weight is rounded from, on both sides. The more the tries cut off, the less the extreme weight has
// to count for them to be the best.
constexpr float kMostTarget = 40.0f, kLeastTarget = 5.0f, kTargetRatio = 1.07f;
constexpr int kRefits = 3;
// Rounding is exact up to here.
constexpr float kMostRounded = 16384.0f;

// Weights and importance of a group, each in units of its largest.
struct Weighed {
  const Group& weights;
  const Group& importance;
  float extreme;
  float unit, importance_unit;
};

// Sums over a group of importance * weight * q and of importance * q^2.
struct Fit {
  double weight_q, q_q;

  // How much less than with all weights 0 the error is.
  double gain(double scale) const { return scale * (2 * weight_q - scale * q_q); }
  double scale() const { return weight_q / q_q; }
};

Fit fit(const Weighed& group, float inverse) {
  Floats weight_q[kRegisters] = {}, q_q[kRegisters] = {};
  for (int64_t i = 0; i < group.weights.count; i += kTogether)
    for (int r = 0; r < kRegisters; ++r) {
      const Floats weights = group.weights.load(i, r);
      const Floats q = Int4::round(weights * inverse) - kRounder;
      const Floats counted = group.importance.load(i, r) * group.importance_unit * q;
      weight_q[r] += counted * (weights * group.unit);
      q_q[r] += counted * q;
    }
  const auto add = [](auto a, auto b) { return a + b; };
  return {reduce(weight_q, add), reduce(q_q, add)};
}

uint16_t to_nearest(double scale) {
  const auto bits = __builtin_bit_cast(uint32_t, static_cast<float>(scale));
  return upper_half(bits + 0x7fff + (bits >> 16 & 1));
}

// A scale as it is held, the sums of the codes that it makes, and its gain.
struct Held {
  uint16_t scale = 0;
  Fit fit{};
  double gain = 0;

  Held(const Weighed& group, uint16_t bits) : scale(bits) {
    const float value = from_upper_half(bits);
    if (!(__builtin_fabsf(group.extreme) < kMostRounded * __builtin_fabsf(value))) return;
    fit = moe::fit(group, 1.0f / value);
    gain = fit.gain(static_cast<double>(value) * group.unit);
  }
};

// A scale as it is rounded may make other codes than those that it was fitted to: that is why each is tried as it is
// held.
Held refitted(const Weighed& group, const Fit& fit) {
  return {group, fit.q_q > 0 ? to_nearest(fit.scale() * group.extreme) : uint16_t{0}};
}

// The best scale of a group that has one without importance, which is `plain`.
uint16_t scale_of(const Group& weights, const Group& importance, uint16_t plain) {
  const float extreme = find_extreme(weights), most = find_extreme(importance);
  if (!(most >= kLeastScale)) return plain;  // no input counts
  const Weighed group{weights, importance, extreme, 1.0f / extreme, 1.0f / most};
  Held best(group, plain);
  for (float target = kLeastTarget; target < kMostTarget; target *= kTargetRatio)
    for (const float signed_target : {-target, target}) {
      const Held tried = refitted(group, fit(group, group.unit * signed_target));
      if (tried.gain > best.gain) best = tried;
    }
  for (int i = 0; i < kRefits; ++i) {
    const Held next = refitted(group, best.fit);
    if (!(next.gain > best.gain)) break;
    best = next;
  }
  return best.scale;
}

// q of a group with this scale.
void round_by(uint16_t scale, const Group& group, int8_t* q) {
  const float inverse = 1.0f / from_upper_half(scale);
  for (int64_t i = 0; i < group.count; i += kTogether) {
    int8_t sixteen[kTogether];
    put_together<Int4>(group, i, inverse, sixteen);
    __builtin_memcpy(q + i, sixteen, i < group.whole ? kTogether : group.count - group.whole);
  }
}

}  // namespace

void encode_int4_weighted(const float* weights, const float* importance, int64_t count, int64_t group, void* codes,
                          void* scales) {
  const int64_t size = group == 0 ? count : group;
  auto* const q = static_cast<int8_t*>(codes);
  auto* to = static_cast<uint16_t*>(scales);
  for (int64_t begin = 0; begin < count; begin += size, ++to) {
    const int64_t part = count - begin < size ? count - begin : size;
    const Group in_group(weights + begin, part), counted(importance + begin, part);
    uint16_t scale = encode_group<Int4>(in_group, q + begin);
    if (scale != 0 && scale != kNotFinite) {
      scale = scale_of(in_group, counted, scale);
      round_by(scale, in_group, q + begin);
    }
    __builtin_memcpy(to, &scale, sizeof scale);
  }
}

}  // namespace moe
