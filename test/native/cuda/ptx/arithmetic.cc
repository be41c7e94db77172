// Integer arithmetic and logic, and the float opcodes that share their names.
#include "cuda/ptx/floating.h"
#include "cuda/ptx/handlers.h"
#include "cuda/ptx/shifts.h"

namespace moe::ptx {
namespace {

template <class T>
using Unsigned = std::make_unsigned_t<T>;
// The type twice as wide; 64-bit products need no wider one but for mul.hi.
template <class T>
struct WideOf;
template <>
struct WideOf<uint16_t> {
  using type = uint32_t;
};
template <>
struct WideOf<int16_t> {
  using type = int32_t;
};
template <>
struct WideOf<uint32_t> {
  using type = uint64_t;
};
template <>
struct WideOf<int32_t> {
  using type = int64_t;
};
template <>
struct WideOf<uint64_t> {
  using type = unsigned __int128;
};
template <>
struct WideOf<int64_t> {
  using type = __int128;
};
template <class T>
using Wide = typename WideOf<T>::type;

// Through unsigned types: overflow wraps.
struct Add {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(Unsigned<T>(a) + Unsigned<T>(b));
  }
};
struct Sub {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(Unsigned<T>(a) - Unsigned<T>(b));
  }
};
struct MulLow {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(uint64_t(Unsigned<T>(a)) * Unsigned<T>(b));
  }
};
struct MulHigh {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(Wide<T>(a) * Wide<T>(b) >> (8 * sizeof(T)));
  }
};
struct MulWide {
  template <class T>
  static Wide<T> apply(T a, T b) {
    return Wide<T>(a) * Wide<T>(b);
  }
};
struct MadLow {
  template <class T>
  static T apply(T a, T b, T c) {
    return Add::apply(MulLow::apply(a, b), c);
  }
};
struct MadHigh {
  template <class T>
  static T apply(T a, T b, T c) {
    return Add::apply(MulHigh::apply(a, b), c);
  }
};
struct MadWide {
  template <class T>
  static Wide<T> apply(T a, T b, Wide<T> c) {
    return Add::apply(MulWide::apply(a, b), c);
  }
};
// Division by zero gives all ones, as on the device; there it is not specified.
struct Div {
  template <class T>
  static T apply(T a, T b) {
    if (b == 0) return static_cast<T>(~T{0});
    if constexpr (std::is_signed_v<T>)
      if (b == -1) return Sub::apply(T{0}, a);
    return static_cast<T>(a / b);
  }
};
struct Rem {
  template <class T>
  static T apply(T a, T b) {
    if (b == 0) return a;
    if constexpr (std::is_signed_v<T>)
      if (b == -1) return 0;
    return static_cast<T>(a % b);
  }
};
struct Neg {
  template <class T>
  static T apply(T a) {
    return Sub::apply(T{0}, a);
  }
};
struct Abs {
  template <class T>
  static T apply(T a) {
    if constexpr (std::is_signed_v<T>) return a < 0 ? Neg::apply(a) : a;
    return a;
  }
};
struct And {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};
struct Not {
  template <class T>
  static T apply(T a) {
    return static_cast<T>(~a);
  }
};
template <class Op>
struct WideBinaryOf {
  template <class T>
  static Handler of() {
    if constexpr (sizeof(T) == 8)
      return nullptr;
    else
      return &binary<Wide<T>, T, Op>;
  }
};
template <class Op>
struct WideTernaryOf {
  template <class T>
  static Handler of() {
    if constexpr (sizeof(T) == 8)
      return nullptr;
    else
      return &ternary<Wide<T>, T, Op>;
  }
};
template <class Op>
struct ShiftOf {
  template <class T>
  static Handler of() {
    return &binary_mixed<T, T, uint32_t, Op>;
  }
};

template <class Op>
void decode_binary(Decoder& d) {
  const Type type = d.take_type();
  if (is_float(type)) return decode_float_binary(d, type);
  d.out().run = for_integer<BinaryOf<Op>>(d, type);
  same_width(d, bytes_of(type), 2);
}

template <class Op>
void decode_unary(Decoder& d) {
  const Type type = d.take_type();
  if (is_float(type)) return decode_float_unary(d, type);
  d.out().run = for_integer<UnaryOf<Op>>(d, type);
  same_width(d, bytes_of(type), 1);
}

void decode_mul(Decoder& d) {
  const Type type = d.take_type();
  if (is_float(type)) return decode_float_binary(d, type);
  const std::string part = d.take_one_of({"lo", "hi", "wide"});
  const int bytes = bytes_of(type);
  if (part == "wide") {
    d.out().run = for_integer<WideBinaryOf<MulWide>>(d, type);
    if (!d.out().run) d.refuse("no such width");
    d.out().d = d.destination(0, 2 * bytes);
    d.out().a = d.source(1, bytes);
    d.out().b = d.source(2, bytes);
    return;
  }
  d.out().run = part == "lo" ? for_integer<BinaryOf<MulLow>>(d, type) : for_integer<BinaryOf<MulHigh>>(d, type);
  same_width(d, bytes, 2);
}

void decode_mad(Decoder& d) {
  const Type type = d.take_type();
  if (is_float(type)) return decode_float_ternary(d, type);
  const std::string part = d.take_one_of({"lo", "hi", "wide"});
  const int bytes = bytes_of(type);
  if (part == "wide") {
    d.out().run = for_integer<WideTernaryOf<MadWide>>(d, type);
    if (!d.out().run) d.refuse("no such width");
    d.out().d = d.destination(0, 2 * bytes);
    d.out().a = d.source(1, bytes);
    d.out().b = d.source(2, bytes);
    d.out().c = d.source(3, 2 * bytes);
    return;
  }
  d.out().run = part == "lo" ? for_integer<TernaryOf<MadLow>>(d, type) : for_integer<TernaryOf<MadHigh>>(d, type);
  same_width(d, bytes, 3);
}

template <class Op>
void decode_shift(Decoder& d) {
  const Type type = d.take_type();
  d.out().run = for_integer<ShiftOf<Op>>(d, type);
  d.out().d = d.destination(0, bytes_of(type));
  d.out().a = d.source(1, bytes_of(type));
  d.out().b = d.source(2, 4);
}

// Predicates: a known false decides an `and`, a known true an `or`, whatever the other side is.
enum PredicateOp : uint8_t { kPredAnd, kPredOr, kPredXor, kPredNot };

void predicate_logic(Warp& w, const Instruction& i) {
  const uint32_t a = w.predicates[i.a], b = w.predicates[i.b];
  const uint32_t ka = w.known_predicates[i.a], kb = w.known_predicates[i.b];
  switch (i.mode) {
    case kPredAnd:
      return w.store_predicate(i.d, a & b, (ka & kb) | (ka & ~a) | (kb & ~b));
    case kPredOr:
      return w.store_predicate(i.d, a | b, (ka & kb) | (ka & a) | (kb & b));
    case kPredXor:
      return w.store_predicate(i.d, a ^ b, ka & kb);
    default:
      return w.store_predicate(i.d, ~a, ka);
  }
}

template <class Op, PredicateOp kPredicate>
void decode_logic(Decoder& d) {
  const Type type = d.take_type();
  const bool one = kPredicate == kPredNot;
  if (type == Type::kPred) {
    Instruction& out = d.out();
    out.run = &predicate_logic;
    out.mode = kPredicate;
    out.d = d.predicate(d.operand(0));
    out.a = d.predicate(d.operand(1));
    out.b = one ? out.a : d.predicate(d.operand(2));
    return;
  }
  if constexpr (kPredicate == kPredNot)
    d.out().run = for_integer<UnaryOf<Op>>(d, type);
  else
    d.out().run = for_integer<BinaryOf<Op>>(d, type);
  same_width(d, bytes_of(type), one ? 1 : 2);
}

}  // namespace

const DecodeTable& arithmetic_decoders() {
  static const DecodeTable table = {
      {"add", &decode_binary<Add>},
      {"sub", &decode_binary<Sub>},
      {"div", &decode_binary<Div>},
      {"rem", &decode_binary<Rem>},
      {"mul", &decode_mul},
      {"mad", &decode_mad},
      {"neg", &decode_unary<Neg>},
      {"abs", &decode_unary<Abs>},
      {"and", &decode_logic<And, kPredAnd>},
      {"or", &decode_logic<Or, kPredOr>},
      {"xor", &decode_logic<Xor, kPredXor>},
      {"not", &decode_logic<Not, kPredNot>},
      {"shl", &decode_shift<Shl>},
      {"shr", &decode_shift<Shr>},
  };
  return table;
}

}  // namespace moe::ptx
