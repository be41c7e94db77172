// Float arithmetic: f32 with its modifiers, f64, and f16/bf16 alone and in pairs, computed in float32 and rounded once.
#include "cuda/ptx/floating.h"

#include <cmath>

#include "cuda/ptx/half.h"
#include "cuda/ptx/handlers.h"

namespace moe::ptx {
namespace {

struct FAdd {
  template <class T>
  static T apply(T a, T b) {
    return a + b;
  }
};
struct FSub {
  template <class T>
  static T apply(T a, T b) {
    return a - b;
  }
};
struct FMul {
  template <class T>
  static T apply(T a, T b) {
    return a * b;
  }
};
struct FDiv {
  template <class T>
  static T apply(T a, T b) {
    return a / b;
  }
};
struct FFma {
  template <class T>
  static T apply(T a, T b, T c) {
    return std::fma(a, b, c);
  }
};
struct FNeg {
  template <class T>
  static T apply(T a) {
    return -a;
  }
};
struct FAbs {
  template <class T>
  static T apply(T a) {
    return std::fabs(a);
  }
};
// A NaN loses against a number, and -0 is less than 0.
struct FMin {
  template <class T>
  static T apply(T a, T b) {
    if (a == b) return std::signbit(a) ? a : b;
    return a != a ? b : b != b ? a : a < b ? a : b;
  }
};
struct FMax {
  template <class T>
  static T apply(T a, T b) {
    if (a == b) return std::signbit(a) ? b : a;
    return a != a ? b : b != b ? a : a > b ? a : b;
  }
};
// min.NaN, max.NaN
template <class Op>
struct Propagating {
  template <class T>
  static T apply(T a, T b) {
    return a != a || b != b ? std::numeric_limits<T>::quiet_NaN() : Op::apply(a, b);
  }
};
struct Ex2 {
  static float apply(float a) { return std::exp2(a); }
};
struct Lg2 {
  static float apply(float a) { return std::log2(a); }
};
struct Rcp {
  template <class T>
  static T apply(T a) {
    return 1 / a;
  }
};
struct Sqrt {
  template <class T>
  static T apply(T a) {
    return std::sqrt(a);
  }
};
struct Rsqrt {
  template <class T>
  static T apply(T a) {
    return 1 / std::sqrt(a);
  }
};
struct Tanh {
  static float apply(float a) { return std::tanh(a); }
};
struct Sine {
  static float apply(float a) { return std::sin(a); }
};
struct Cosine {
  static float apply(float a) { return std::cos(a); }
};
struct CopySign {  // PTX: the sign of a, the rest of b
  template <class T>
  static T apply(T a, T b) {
    return std::copysign(b, a);
  }
};

float flushed(float a) { return std::fabs(a) < std::numeric_limits<float>::min() ? std::copysign(0.0f, a) : a; }

// .ftz: subnormal inputs and results become zero. .sat: results are clamped to [0, 1], NaN to 0.
template <class Op>
struct Flushing {
  template <class... T>
  static float apply(T... a) {
    return flushed(Op::apply(flushed(a)...));
  }
};
template <class Op>
struct Saturating {
  template <class... T>
  static float apply(T... a) {
    const float value = Op::apply(a...);
    return value > 0 ? std::min(value, 1.0f) : 0.0f;
  }
};

// f16 and bf16 registers hold their bits.
template <float (*kFrom)(uint16_t), uint16_t (*kTo)(float), class Op>
struct Narrow {
  template <class... T>
  static uint16_t apply(T... a) {
    return kTo(static_cast<float>(Op::apply(kFrom(a)...)));
  }
};
template <class Op>
struct Pair {
  template <class... T>
  static uint32_t apply(T... a) {
    return uint32_t{Op::apply(static_cast<uint16_t>(a)...)} | uint32_t{Op::apply(static_cast<uint16_t>(a >> 16)...)}
                                                                  << 16;
  }
};
// Of a product and a sum of 11-bit fractions float32 would round twice; float64 does not.
struct WideFma {
  static float apply(float a, float b, float c) {
    const double exact = static_cast<double>(a) * b + c;
    return static_cast<float>(exact);
  }
};

enum Arity { kOne, kTwo, kThree };

template <class T, Arity kArity, class Op>
Handler handler() {
  if constexpr (kArity == kOne) return &unary<T, T, Op>;
  if constexpr (kArity == kTwo) return &binary<T, T, Op>;
  if constexpr (kArity == kThree) return &ternary<T, T, Op>;
}

template <Arity kArity, class Op, class NarrowOp = Op>
void decode_float(Decoder& d, Type type) {
  const bool flush = d.take("ftz"), saturate = d.take("sat");
  Handler& run = d.out().run;
  switch (type) {
    case Type::kF32:
      if (saturate)
        run = flush ? handler<float, kArity, Saturating<Flushing<Op>>>() : handler<float, kArity, Saturating<Op>>();
      else
        run = flush ? handler<float, kArity, Flushing<Op>>() : handler<float, kArity, Op>();
      break;
    case Type::kF64:
      run = handler<double, kArity, Op>();
      break;
    case Type::kF16:
      run = handler<uint16_t, kArity, Narrow<from_float16, to_float16, NarrowOp>>();
      break;
    case Type::kBF16:
      run = handler<uint16_t, kArity, Narrow<from_bfloat16, to_bfloat16, NarrowOp>>();
      break;
    case Type::kF16x2:
      run = handler<uint32_t, kArity, Pair<Narrow<from_float16, to_float16, NarrowOp>>>();
      break;
    case Type::kBF16x2:
      run = handler<uint32_t, kArity, Pair<Narrow<from_bfloat16, to_bfloat16, NarrowOp>>>();
      break;
    default:
      d.refuse("this type is not known here");
  }
  if (saturate && type != Type::kF32) d.refuse(".sat of this type");
  if (flush && type == Type::kF64) d.refuse(".ftz of this type");
  same_width(d, bytes_of(type), kArity + 1);
}

// Functions of one float, approximate on the device; here as exact as the host's.
template <class Op>
void decode_function(Decoder& d) {
  const Type type = d.take_type();
  d.take("approx") || d.take("rn");
  const bool flush = d.take("ftz");
  if (type == Type::kF32)
    d.out().run = flush ? &unary<float, float, Flushing<Op>> : &unary<float, float, Op>;
  else
    d.refuse("this type is not known here");
  same_width(d, 4, 1);
}

template <class Op>
void decode_root(Decoder& d) {
  const Type type = d.take_type();
  d.take("approx") || d.take("rn");
  const bool flush = d.take("ftz");
  if (type == Type::kF64)
    d.out().run = &unary<double, double, Op>;
  else if (type == Type::kF32)
    d.out().run = flush ? &unary<float, float, Flushing<Op>> : &unary<float, float, Op>;
  else
    d.refuse("this type is not known here");
  same_width(d, bytes_of(type), 1);
}

void decode_copysign(Decoder& d) {
  const Type type = d.take_type();
  d.out().run = type == Type::kF64 ? &binary<double, double, CopySign> : &binary<float, float, CopySign>;
  same_width(d, bytes_of(type), 2);
}

}  // namespace

void decode_float_unary(Decoder& d, Type type) {
  if (d.opcode() == "neg") return decode_float<kOne, FNeg>(d, type);
  return decode_float<kOne, FAbs>(d, type);
}

void decode_float_binary(Decoder& d, Type type) {
  // Other roundings than to nearest would need code of their own.
  if (d.opcode() == "div")
    d.take("rn") || d.take("full") || d.take("approx");
  else
    d.take("rn");
  if (d.opcode() == "add") return decode_float<kTwo, FAdd>(d, type);
  if (d.opcode() == "sub") return decode_float<kTwo, FSub>(d, type);
  if (d.opcode() == "mul") return decode_float<kTwo, FMul>(d, type);
  if (d.opcode() == "div") return decode_float<kTwo, FDiv>(d, type);
  d.refuse("not for floats");
}

void decode_float_ternary(Decoder& d, Type type) {
  d.take("rn");
  decode_float<kThree, FFma, WideFma>(d, type);
}

void decode_float_extreme(Decoder& d, Type type) {
  const bool propagate = d.take("NaN");
  if (d.opcode() == "min")
    return propagate ? decode_float<kTwo, Propagating<FMin>>(d, type) : decode_float<kTwo, FMin>(d, type);
  return propagate ? decode_float<kTwo, Propagating<FMax>>(d, type) : decode_float<kTwo, FMax>(d, type);
}

const DecodeTable& floating_decoders() {
  static const DecodeTable table = {
      {"fma", [](Decoder& d) { decode_float_ternary(d, d.take_type()); }},
      {"ex2", &decode_function<Ex2>},
      {"lg2", &decode_function<Lg2>},
      {"tanh", &decode_function<Tanh>},
      {"sin", &decode_function<Sine>},
      {"cos", &decode_function<Cosine>},
      {"rcp", &decode_root<Rcp>},
      {"sqrt", &decode_root<Sqrt>},
      {"rsqrt", &decode_root<Rsqrt>},
      {"copysign", &decode_copysign},
  };
  return table;
}

}  // namespace moe::ptx
