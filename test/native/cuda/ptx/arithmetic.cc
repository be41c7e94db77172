// Integer arithmetic and logic, and the float opcodes that share their names.
#include "cuda/ptx/floating.h"
#include "cuda/ptx/handlers.h"

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
// Amounts beyond the width shift everything out.
struct Shl {
  template <class T>
  static T apply(T a, uint32_t by) {
    return by >= 8 * sizeof(T) ? T{0} : static_cast<T>(uint64_t(a) << by);
  }
};
struct Shr {
  template <class T>
  static T apply(T a, uint32_t by) {
    constexpr uint32_t kBits = 8 * sizeof(T);
    if constexpr (std::is_signed_v<T>) return static_cast<T>(a >> (by >= kBits ? kBits - 1 : by));
    return by >= kBits ? T{0} : static_cast<T>(a >> by);
  }
};
struct Popc {
  template <class T>
  static uint32_t apply(T a) {
    return static_cast<uint32_t>(std::popcount(a));
  }
};
struct Clz {
  template <class T>
  static uint32_t apply(T a) {
    return static_cast<uint32_t>(std::countl_zero(a));
  }
};
struct Brev {
  template <class T>
  static T apply(T a) {
    T out = 0;
    for (uint32_t bit = 0; bit < 8 * sizeof(T); ++bit) out = static_cast<T>(out << 1 | (a >> bit & 1));
    return out;
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

template <class Op>
void decode_count(Decoder& d) {
  const Type type = d.take_type();
  d.out().run = bytes_of(type) == 8 ? &unary<uint32_t, uint64_t, Op> : &unary<uint32_t, uint32_t, Op>;
  d.out().d = d.destination(0, 4);
  d.out().a = d.source(1, bytes_of(type));
}

void decode_brev(Decoder& d) {
  const Type type = d.take_type();
  d.out().run = bytes_of(type) == 8 ? &unary<uint64_t, uint64_t, Brev> : &unary<uint32_t, uint32_t, Brev>;
  same_width(d, bytes_of(type), 1);
}

// bfe: a field of `length` bits from `begin`, sign-extended for signed types. bfi: `a` put into such a field of `b`.
template <class T>
void extract_field(Warp& w, const Instruction& i) {
  const T* const a = w.reg<T>(i.a);
  const uint32_t *const begin = w.reg<uint32_t>(i.b), *const length = w.reg<uint32_t>(i.c);
  constexpr uint32_t kBits = 8 * sizeof(T);
  T out[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    const uint32_t from = begin[lane] & 255, count = length[lane] & 255;
    const T moved = Shr::apply(a[lane], from);
    if (count >= kBits)
      out[lane] = moved;
    else if (count == 0)
      out[lane] = 0;
    else
      out[lane] = Shr::apply(Shl::apply(moved, kBits - count), kBits - count);
  }
  w.store(i.d, out, w.known[i.a] & w.known[i.b] & w.known[i.c]);
}

template <class T>
void insert_field(Warp& w, const Instruction& i) {
  const T *const a = w.reg<T>(i.a), *const b = w.reg<T>(i.b);
  const uint32_t *const begin = w.reg<uint32_t>(i.c), *const length = w.reg<uint32_t>(i.e);
  constexpr uint32_t kBits = 8 * sizeof(T);
  T out[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    const uint32_t from = begin[lane] & 255, count = length[lane] & 255;
    const T ones = count >= kBits ? static_cast<T>(~T{0}) : static_cast<T>((T{1} << count) - 1);
    const T mask = Shl::apply(ones, from);
    out[lane] = (b[lane] & ~mask) | (Shl::apply(a[lane], from) & mask);
  }
  w.store(i.d, out, w.known[i.a] & w.known[i.b] & w.known[i.c] & w.known[i.e]);
}

void decode_bfe(Decoder& d) {
  const Type type = d.take_type();
  const int bytes = bytes_of(type);
  d.out().run = type == Type::kU32   ? &extract_field<uint32_t>
                : type == Type::kS32 ? &extract_field<int32_t>
                : type == Type::kU64 ? &extract_field<uint64_t>
                                     : &extract_field<int64_t>;
  d.out().d = d.destination(0, bytes);
  d.out().a = d.source(1, bytes);
  d.out().b = d.source(2, 4);
  d.out().c = d.source(3, 4);
}

void decode_bfi(Decoder& d) {
  const Type type = d.take_type();
  const int bytes = bytes_of(type);
  d.out().run = bytes == 8 ? &insert_field<uint64_t> : &insert_field<uint32_t>;
  d.out().d = d.destination(0, bytes);
  d.out().a = d.source(1, bytes);
  d.out().b = d.source(2, bytes);
  d.out().c = d.source(3, 4);
  d.out().e = d.source(4, 4);
}

// A table of 8 result bits, one per combination of the three inputs' bits.
void logic3(Warp& w, const Instruction& i) {
  const uint32_t *const a = w.reg<uint32_t>(i.a), *const b = w.reg<uint32_t>(i.b), *const c = w.reg<uint32_t>(i.c);
  uint32_t out[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    const uint32_t x = a[lane], y = b[lane], z = c[lane];
    uint32_t value = 0;
    for (uint32_t row = 0; row < 8; ++row)
      if (i.offset >> row & 1) value |= (row & 4 ? x : ~x) & (row & 2 ? y : ~y) & (row & 1 ? z : ~z);
    out[lane] = value;
  }
  w.store(i.d, out, w.known[i.a] & w.known[i.b] & w.known[i.c]);
}

void decode_lop3(Decoder& d) {
  d.take("b32");
  d.out().run = &logic3;
  same_width(d, 4, 3);
  d.out().offset = d.immediate(4);
}

// shf: 32 bits out of the pair (high b, low a), shifted.
template <bool kLeft, bool kWrap>
void funnel_shift(Warp& w, const Instruction& i) {
  const uint32_t *const a = w.reg<uint32_t>(i.a), *const b = w.reg<uint32_t>(i.b), *const c = w.reg<uint32_t>(i.c);
  uint32_t out[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    const uint32_t by = kWrap ? c[lane] & 31 : std::min(c[lane], 32u);
    const uint64_t pair = uint64_t{b[lane]} << 32 | a[lane];
    out[lane] = static_cast<uint32_t>(kLeft ? (pair << by) >> 32 : pair >> by);
    if (kLeft && by == 32) out[lane] = a[lane];
  }
  w.store(i.d, out, w.known[i.a] & w.known[i.b] & w.known[i.c]);
}

void decode_shf(Decoder& d) {
  const bool left = d.take_one_of({"l", "r"}) == "l", wrap = d.take_one_of({"wrap", "clamp"}) == "wrap";
  d.take("b32");
  d.out().run = left ? (wrap ? &funnel_shift<true, true> : &funnel_shift<true, false>)
                     : (wrap ? &funnel_shift<false, true> : &funnel_shift<false, false>);
  same_width(d, 4, 3);
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
      {"popc", &decode_count<Popc>},
      {"clz", &decode_count<Clz>},
      {"brev", &decode_brev},
      {"bfe", &decode_bfe},
      {"bfi", &decode_bfi},
      {"lop3", &decode_lop3},
      {"shf", &decode_shf},
  };
  return table;
}

}  // namespace moe::ptx
