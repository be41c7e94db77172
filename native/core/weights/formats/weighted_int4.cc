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
constexpr float kMostTarget = 40.0f, kLeastTarget = 6.5f, kTargetRatio = 1.07f;
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

  // How much less than with all weights 0 the error is, with the best scale and with another.
  double gain() const { return q_q > 0 ? weight_q * weight_q / q_q : 0; }
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

Held best_try(const Weighed& group) {
  Fit best{};
  for (float target = kLeastTarget; target < kMostTarget; target *= kTargetRatio)
    for (const float signed_target : {-target, target})
      if (const Fit tried = fit(group, group.unit * signed_target); tried.gain() > best.gain()) best = tried;
  return {group, best.q_q > 0 ? to_nearest(best.scale() * group.extreme) : uint16_t{0}};
}

// The scale of a group; 0 where its weights are so small that they are held as zeros, NaN where one is not finite.
uint16_t scale_of(const Group& weights, const Group& importance) {
  const float extreme = find_extreme(weights), most = find_extreme(importance);
  if (!is_held(extreme)) return scale_of_none(extreme);
  const uint16_t plain = Int4::scale(weights, extreme);
  if (!(most >= kLeastScale)) return plain;  // no input counts
  const Weighed group{weights, importance, extreme, 1.0f / extreme, 1.0f / most};
  Held best(group, plain);
  Held next = best_try(group);
  for (int i = 0; i < kRefits && next.gain > best.gain; ++i) {
    best = next;
    next = Held(group, to_nearest(best.fit.scale() * extreme));
  }
  return best.scale;
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
    const uint16_t scale = scale_of(in_group, counted);
    __builtin_memcpy(to, &scale, sizeof scale);
    encode_by<Int4>(in_group, scale, q + begin);
  }
}

}  // namespace moe
