// Bits counted, reversed, and moved as fields.
#include <algorithm>

#include "cuda/ptx/handlers.h"
#include "cuda/ptx/shifts.h"

namespace moe::ptx {
namespace {

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

const DecodeTable& bit_decoders() {
  static const DecodeTable table = {
      {"popc", &decode_count<Popc>}, {"clz", &decode_count<Clz>}, {"brev", &decode_brev}, {"bfe", &decode_bfe},
      {"bfi", &decode_bfi},          {"lop3", &decode_lop3},      {"shf", &decode_shf},
  };
  return table;
}

}  // namespace moe::ptx
