// Handlers over all 32 lanes of a warp: the executing ones keep the result. Written so that the compiler vectorises.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "cuda/ptx/decoder.h"
#include "cuda/ptx/warp.h"

namespace moe::ptx {

template <class To, class From>
To bits_as(From value) {
  static_assert(sizeof(To) == sizeof(From));
  return std::bit_cast<To>(value);
}

// d = Op(a), and so on. D is the result's type, S the operands'.
template <class D, class S, class Op>
void unary(Warp& w, const Instruction& i) {
  const S* const a = w.reg<S>(i.a);
  D out[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) out[lane] = Op::apply(a[lane]);
  w.store(i.d, out, w.known[i.a]);
}

template <class D, class S, class Op>
void binary(Warp& w, const Instruction& i) {
  const S *const a = w.reg<S>(i.a), *const b = w.reg<S>(i.b);
  D out[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) out[lane] = Op::apply(a[lane], b[lane]);
  w.store(i.d, out, w.known[i.a] & w.known[i.b]);
}

// The second operand has a type of its own: shift amounts.
template <class D, class S, class B, class Op>
void binary_mixed(Warp& w, const Instruction& i) {
  const S* const a = w.reg<S>(i.a);
  const B* const b = w.reg<B>(i.b);
  D out[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) out[lane] = Op::apply(a[lane], b[lane]);
  w.store(i.d, out, w.known[i.a] & w.known[i.b]);
}

// The third operand has the result's type: mad.wide.
template <class D, class S, class Op>
void ternary(Warp& w, const Instruction& i) {
  const S *const a = w.reg<S>(i.a), *const b = w.reg<S>(i.b);
  const D* const c = w.reg<D>(i.c);
  D out[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) out[lane] = Op::apply(a[lane], b[lane], c[lane]);
  w.store(i.d, out, w.known[i.a] & w.known[i.b] & w.known[i.c]);
}

// Picks Pick::of<T>() for the C++ type of a PTX integer type; b types count as unsigned.
template <class Pick>
Handler for_integer(Decoder& decoder, Type type) {
  switch (type) {
    case Type::kB16:
    case Type::kU16:
      return Pick::template of<uint16_t>();
    case Type::kS16:
      return Pick::template of<int16_t>();
    case Type::kB32:
    case Type::kU32:
      return Pick::template of<uint32_t>();
    case Type::kS32:
      return Pick::template of<int32_t>();
    case Type::kB64:
    case Type::kU64:
      return Pick::template of<uint64_t>();
    case Type::kS64:
      return Pick::template of<int64_t>();
    default:
      decoder.refuse("this type is not known here");
  }
}

template <class Op>
struct BinaryOf {
  template <class T>
  static Handler of() {
    return &binary<T, T, Op>;
  }
};
template <class Op>
struct UnaryOf {
  template <class T>
  static Handler of() {
    return &unary<T, T, Op>;
  }
};
template <class Op>
struct TernaryOf {
  template <class T>
  static Handler of() {
    return &ternary<T, T, Op>;
  }
};

// Operands d, a, b, c of one width.
inline void same_width(Decoder& decoder, int bytes, int sources) {
  Instruction& out = decoder.out();
  out.d = decoder.destination(0, bytes);
  out.a = decoder.source(1, bytes);
  if (sources > 1) out.b = decoder.source(2, bytes);
  if (sources > 2) out.c = decoder.source(3, bytes);
}

}  // namespace moe::ptx
