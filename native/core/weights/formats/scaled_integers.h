// Weights as small integers with a bfloat16 scale for each group: weight = q * scale. Plain arithmetic in sixteen
// lanes, whatever registers they take: all add in the same order, so that every device and every instruction set holds
// the same numbers.
//
// Who includes this, within a namespace of internal linkage, says by kLanes how many floats a register has: the core
// four, as every machine, each instruction set of the CPU its own. So this is a kernel, and what cpu/kernels/begin.h
// says of includes and of the standard library holds here.
#pragma once

namespace scaled_integers {

constexpr float kRounder = 12582912.0f;   // 1.5 * 2^23: what it is added to is rounded, its last bits are the integer
constexpr float kLeastScale = 0x1p-100f;  // weights so small are zero
constexpr uint16_t kNotFinite = 0x7fc0;   // NaN

constexpr int64_t kTogether = 16;
constexpr int kRegisters = kTogether / kLanes;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Bits __attribute__((vector_size(4 * kLanes)));
typedef int16_t Halves __attribute__((vector_size(4 * kLanes)));
typedef int8_t Bytes __attribute__((vector_size(kLanes)));

// The weights of a group, sixteen at a time: zeros stand behind the last.
struct Group {
  const float* weights;
  int64_t count, whole;  // whole sixteens
  float rest[kTogether];

  Group(const float* from, int64_t size) : weights(from), count(size), whole(size - size % kTogether) {
    if (whole == count) return;
    __builtin_memset(rest, 0, sizeof rest);
    __builtin_memcpy(rest, weights + whole, (count - whole) * sizeof(float));
  }

  Floats load(int64_t i, int reg) const {
    Floats values;
    __builtin_memcpy(&values, (i < whole ? weights + i : rest) + reg * kLanes, sizeof values);
    return values;
  }
};

// One value of all lanes, in the order of a tree: each time, the upper half of what is left joins the lower one.
template <class Vector, class Combine>
auto reduce(Vector v, const Combine& combine) {
  if constexpr (sizeof v == 64)
    return reduce(combine(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7),
                          __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15)),
                  combine);
  else if constexpr (sizeof v == 32)
    return reduce(combine(__builtin_shufflevector(v, v, 0, 1, 2, 3), __builtin_shufflevector(v, v, 4, 5, 6, 7)),
                  combine);
  else {
    v = combine(v, __builtin_shufflevector(v, v, 2, 3, 0, 1));
    return combine(v, __builtin_shufflevector(v, v, 1, 0, 3, 2))[0];
  }
}
template <class Vector, class Combine>
auto reduce(Vector (&registers)[kRegisters], const Combine& combine) {
  for (int left = kRegisters / 2; left > 0; left /= 2)
    for (int r = 0; r < left; ++r) registers[r] = combine(registers[r], registers[r + left]);
  return reduce(registers[0], combine);
}

// The weight of largest magnitude, the positive one of two; NaN when one is not finite.
inline float find_extreme(const Group& group) {
  Floats high[kRegisters] = {}, low[kRegisters] = {};
  Bits poison[kRegisters] = {};  // not zero as soon as one is not finite
  for (int64_t i = 0; i < group.count; i += kTogether)
    for (int r = 0; r < kRegisters; ++r) {
      const Floats values = group.load(i, r);
      high[r] = values > high[r] ? values : high[r];
      low[r] = values < low[r] ? values : low[r];
      poison[r] |= reinterpret_cast<Bits>(values - values);
    }
  if (reduce(poison, [](auto a, auto b) { return a | b; }) != 0) return __builtin_nanf("");
  const float highest = reduce(high, [](auto a, auto b) { return a > b ? a : b; });
  const float lowest = reduce(low, [](auto a, auto b) { return a < b ? a : b; });
  return highest >= -lowest ? highest : lowest;
}

// The upper half of a float is a bfloat16.
inline uint16_t upper_half(uint32_t bits) { return static_cast<uint16_t>(bits >> 16); }
inline float from_upper_half(uint16_t half) { return __builtin_bit_cast(float, static_cast<uint32_t>(half) << 16); }

// The largest magnitude is 127 scales or a little less.
struct Int8 {
  static Floats round(Floats values) { return values + kRounder; }  // no weight is beyond 127 scales
  static uint16_t scale(const Group&, float extreme) {
    return upper_half(__builtin_bit_cast(uint32_t, __builtin_fabsf(extreme) / 127.0f) + 0xffff);
  }
};

// What the extreme weight is rounded from: -8 uses the whole range, less leaves it some, more cuts it off. Three of
// them come within 1 % of the error of fifty (8.2 % of Gaussian weights in groups of 32).
constexpr float kTargets[] = {-8.0f, -7.3f, -8.7f};
constexpr int kTries = 3;

// The scale has the least squared error of some.
struct Int4 {
  // Clamps the last bits, as halves of floats: that takes an instruction for each bound.
  static Floats round(Floats values) {
    const auto low = reinterpret_cast<Halves>(Bits{} + static_cast<int32_t>(0x8000fff8));  // -8 and the least
    const auto high = reinterpret_cast<Halves>(Bits{} + 0x7fff0007);                       // 7 and the most
    auto halves = reinterpret_cast<Halves>(values + kRounder);
    halves = halves < low ? low : halves;
    return reinterpret_cast<Floats>(halves > high ? high : halves);
  }

  // What fitting a scale takes to weights that are rounded once the extreme one became a target: sums of weight * q, in
  // units of the extreme weight, and of q^2.
  struct Fits {
    Floats weight_q[kTries][kRegisters], q_q[kTries][kRegisters];
  };

  // A register of each sixteen at a time, so that its sums stay in registers.
  static void fit(const Group& group, float inverse, Fits& fits) {
    for (int r = 0; r < kRegisters; ++r) {
      Floats weight_q[kTries] = {}, q_q[kTries] = {};
      for (int64_t i = 0; i < group.count; i += kTogether) {
        const Floats values = group.load(i, r) * inverse;
        for (int t = 0; t < kTries; ++t) {
          const Floats q = round(values * kTargets[t]) - kRounder;
          weight_q[t] += values * q;
          q_q[t] += q * q;
        }
      }
      for (int t = 0; t < kTries; ++t) {
        fits.weight_q[t][r] = weight_q[t];
        fits.q_q[t][r] = q_q[t];
      }
    }
  }

  // The squared error of rounded weights with their best scale is sum(w^2) - sum(w q)^2 / sum(q^2).
  static uint16_t scale(const Group& group, float extreme) {
    Fits fits;
    fit(group, 1.0f / extreme, fits);
    double gains[kTries];
    float scales[kTries];
    for (int t = 0; t < kTries; ++t) {
      const auto add = [](auto a, auto b) { return a + b; };
      const float weight_q = reduce(fits.weight_q[t], add), q_q = reduce(fits.q_q[t], add);
      gains[t] = static_cast<double>(weight_q) * weight_q / q_q;
      scales[t] = extreme * (weight_q / q_q);
    }
    int best = 0;
    for (int t = 1; t < kTries; ++t) best = gains[t] > gains[best] ? t : best;
    const auto bits = __builtin_bit_cast(uint32_t, scales[best]);
    return upper_half(bits + 0x7fff + (bits >> 16 & 1));  // to nearest, ties to even
  }
};

// Sixteen weights of a group as integers, the last bits of what they are rounded to. g++ narrows a 512-bit register in
// one instruction where it sees integers in it; less than that it narrows well in a loop that it does not unroll.
template <class Integers>
void put_together(const Group& group, int64_t i, float inverse, int8_t* to) {
  if constexpr (kRegisters == 1) {
    const auto bits = reinterpret_cast<Bits>(Integers::round(group.load(i, 0) * inverse));
    const Bytes bytes = __builtin_convertvector(bits - __builtin_bit_cast(int32_t, kRounder), Bytes);
    __builtin_memcpy(to, &bytes, sizeof bytes);
  } else {
    int32_t bits[kTogether];
    for (int r = 0; r < kRegisters; ++r) {
      const Floats rounded = Integers::round(group.load(i, r) * inverse);
      __builtin_memcpy(bits + r * kLanes, &rounded, sizeof rounded);
    }
#pragma GCC unroll 1
    for (int64_t l = 0; l < kTogether; ++l) to[l] = static_cast<int8_t>(bits[l]);
  }
}

// A group with a weight that is not finite gets the scale NaN and q = 0.
template <class Integers>
uint16_t encode_group(const Group& group, int8_t* q) {
  const float extreme = find_extreme(group);
  if (!(__builtin_fabsf(extreme) >= kLeastScale * 127.0f)) {
    __builtin_memset(q, 0, group.count);
    return extreme == extreme ? 0 : kNotFinite;
  }
  const uint16_t scale = Integers::scale(group, extreme);
  const float inverse = 1.0f / from_upper_half(scale);
  for (int64_t i = 0; i < group.whole; i += kTogether) put_together<Integers>(group, i, inverse, q + i);
  if (group.whole < group.count) {
    int8_t rest[kTogether];
    put_together<Integers>(group, group.whole, inverse, rest);
    __builtin_memcpy(q + group.whole, rest, group.count - group.whole);
  }
  return scale;
}

// WeightFormat::Encode.
template <class Integers>
void encode(const float* weights, int64_t count, int64_t group, void* codes, void* scales) {
  const int64_t size = group == 0 ? count : group;
  auto* q = static_cast<int8_t*>(codes);
  auto* to = static_cast<uint16_t*>(scales);
  for (int64_t begin = 0; begin < count; begin += size) {
    const Group in_group(weights + begin, count - begin < size ? count - begin : size);
    const uint16_t scale = encode_group<Integers>(in_group, q + begin);
    __builtin_memcpy(to++, &scale, sizeof scale);
  }
}

}  // namespace scaled_integers
