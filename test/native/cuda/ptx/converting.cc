#include "cuda/ptx/converting.h"

#include <algorithm>

#include "cuda/ptx/half.h"
#include "cuda/ptx/handlers.h"

namespace moe::ptx {
namespace {

enum Rounding : uint8_t { kNearest, kTowardZero, kDown, kUp };

double rounded(double value, Rounding how) {
  switch (how) {
    case kNearest:
      return std::nearbyint(value);
    case kTowardZero:
      return std::trunc(value);
    case kDown:
      return std::floor(value);
    case kUp:
      return std::ceil(value);
  }
  return value;
}

// Conversions lane by lane: no kernel spends its time here, so the widest form serves all types.

// The register may be wider than the type.
int64_t integer_of(Type type, int register_bytes, const Warp& w, Unit unit, uint32_t lane) {
  const uint64_t bits = register_bytes == 8   ? w.reg<uint64_t>(unit)[lane]
                        : register_bytes == 4 ? w.reg<uint32_t>(unit)[lane]
                                              : w.reg<uint16_t>(unit)[lane];
  const int unused = 64 - 8 * bytes_of(type);
  return is_signed(type) ? static_cast<int64_t>(bits << unused) >> unused
                         : static_cast<int64_t>(bits << unused >> unused);
}

double float_of(Type type, const Warp& w, Unit unit, uint32_t lane) {
  switch (type) {
    case Type::kF16:
      return from_float16(w.reg<uint16_t>(unit)[lane]);
    case Type::kBF16:
      return from_bfloat16(w.reg<uint16_t>(unit)[lane]);
    case Type::kF32:
      return w.reg<float>(unit)[lane];
    default:
      return w.reg<double>(unit)[lane];
  }
}

struct Range {
  double low, high;
};
Range range_of(Type type) {
  const int bits = 8 * bytes_of(type);
  if (is_signed(type)) return {-std::ldexp(1.0, bits - 1), std::ldexp(1.0, bits - 1) - 1};
  return {0, std::ldexp(1.0, bits) - 1};
}

// Float to integer clamps to the range; NaN becomes 0.
uint64_t to_integer(double value, Type to) {
  if (std::isnan(value)) return 0;
  const Range range = range_of(to);
  if (value <= range.low) return static_cast<uint64_t>(static_cast<int64_t>(range.low));
  if (value >= range.high) {
    if (bytes_of(to) == 8) return is_signed(to) ? INT64_MAX : UINT64_MAX;
    return static_cast<uint64_t>(range.high);
  }
  return is_signed(to) ? static_cast<uint64_t>(static_cast<int64_t>(value)) : static_cast<uint64_t>(value);
}

uint64_t to_float(double value, Type to, Rounding rounding) {
  const auto single = static_cast<float>(value);
  switch (to) {
    case Type::kF16:
      return to_float16(single);
    case Type::kBF16:
      return rounding == kTowardZero ? to_bfloat16_toward_zero(single) : to_bfloat16(single);
    case Type::kF32:
      return bits_as<uint32_t>(single);
    default:
      return bits_as<uint64_t>(value);
  }
}

void put(Warp& w, Unit unit, int bytes, const uint64_t (&values)[kLanes], uint32_t known) {
  if (bytes == 8) return w.store(unit, values, known);
  if (bytes == 4) {
    uint32_t out[kLanes];
    std::ranges::copy(values, out);
    return w.store(unit, out, known);
  }
  uint16_t out[kLanes];
  std::ranges::copy(values, out);
  w.store(unit, out, known);
}

template <class T>
T field(int64_t packed, int shift) {
  return static_cast<T>(packed >> shift & 255);
}

// i.offset holds the conversion, i.bytes and i.count the widths of the result's and the operand's register.
void convert(Warp& w, const Instruction& i) {
  const auto to = field<Type>(i.offset, 0), from = field<Type>(i.offset, 8);
  const auto rounding = field<Rounding>(i.offset, 16);
  const bool saturate = field<int>(i.offset, 24) != 0, to_whole = field<int>(i.offset, 32) != 0;
  uint64_t out[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (is_float(from)) {
      double value = float_of(from, w, i.a, lane);
      if (is_float(to)) {
        if (to_whole) value = rounded(value, rounding);
        if (saturate) value = value > 0 ? std::min(value, 1.0) : 0.0;
        out[lane] = to_float(value, to, rounding);
      } else {
        out[lane] = to_integer(rounded(value, rounding), to);
      }
      continue;
    }
    const int64_t value = integer_of(from, i.count, w, i.a, lane);
    if (!is_float(to)) {
      int64_t kept = value;
      if (saturate && bytes_of(to) < 8)
        kept = std::clamp(value, static_cast<int64_t>(range_of(to).low), static_cast<int64_t>(range_of(to).high));
      // The register may be wider than the type: its rest is the extension.
      if (bytes_of(to) < i.bytes) {
        const int shift = 64 - 8 * bytes_of(to);
        kept = is_signed(to) ? kept << shift >> shift
                             : static_cast<int64_t>(static_cast<uint64_t>(kept) << shift >> shift);
      }
      out[lane] = static_cast<uint64_t>(kept);
      continue;
    }
    // Straight to float32: by way of float64 a 64-bit integer would be rounded twice.
    const bool is_signed_source = is_signed(from);
    if (to == Type::kF64)
      out[lane] = bits_as<uint64_t>(is_signed_source ? static_cast<double>(value)
                                                     : static_cast<double>(static_cast<uint64_t>(value)));
    else
      out[lane] =
          to_float(is_signed_source ? static_cast<float>(value) : static_cast<float>(static_cast<uint64_t>(value)), to,
                   rounding);
  }
  put(w, i.d, i.bytes, out, w.known[i.a]);
}

// The commonest integer conversions, without the detour.
struct Truncate {
  static uint32_t apply(uint64_t a) { return static_cast<uint32_t>(a); }
};
struct SignExtend {
  static int64_t apply(int32_t a) { return a; }
};
struct ZeroExtend {
  static uint64_t apply(uint32_t a) { return a; }
};
struct Bfloat16ToFloat {
  static float apply(uint16_t a) { return from_bfloat16(a); }
};
struct FloatToBfloat16 {
  static uint16_t apply(float a) { return to_bfloat16(a); }
};
struct IntToFloat {
  static float apply(int32_t a) { return static_cast<float>(a); }
};

Handler quick(Type to, Type from) {
  const bool from32 = from == Type::kU32 || from == Type::kS32, to64 = to == Type::kU64 || to == Type::kS64;
  const bool from64 = from == Type::kU64 || from == Type::kS64, to32 = to == Type::kU32 || to == Type::kS32;
  if (from64 && to32) return &unary<uint32_t, uint64_t, Truncate>;
  if (from32 && to64)
    return from == Type::kS32 ? &unary<int64_t, int32_t, SignExtend> : &unary<uint64_t, uint32_t, ZeroExtend>;
  if (from == Type::kBF16 && to == Type::kF32) return &unary<float, uint16_t, Bfloat16ToFloat>;
  if (from == Type::kF32 && to == Type::kBF16) return &unary<uint16_t, float, FloatToBfloat16>;
  if (from == Type::kS32 && to == Type::kF32) return &unary<float, int32_t, IntToFloat>;
  return nullptr;
}

// cvt.rn.bf16x2.f32 d, a, b: a becomes the upper half.
template <uint16_t (*kTo)(float), bool kRelu>
struct PackPair {
  static uint32_t apply(float high, float low) {
    if (kRelu) {
      high = high > 0 ? high : 0;
      low = low > 0 ? low : 0;
    }
    return uint32_t{kTo(high)} << 16 | kTo(low);
  }
};

struct RoundToTf32 {  // to nearest, halves away from zero: 10 bits of fraction stay
  static uint32_t apply(uint32_t a) { return (a & 0x7fffffff) > 0x7f800000 ? 0x7fffffff : (a + 0x1000) & ~0x1fffu; }
};

}  // namespace

void decode_cvt(Decoder& d) {
  const Type to = d.take_type(), from = d.take_type();
  const std::string rounding = d.take_one_of({"rna", "rni", "rzi", "rmi", "rpi", "rn", "rz", "rm", "rp"}, true);
  const bool saturate = d.take("sat"), relu = d.take("relu");
  d.take("ftz");
  Instruction& out = d.out();
  if (to == Type::kBF16x2 || to == Type::kF16x2) {
    if (from != Type::kF32 || rounding != "rn" || saturate) d.refuse("unknown conversion");
    if (to == Type::kBF16x2)
      out.run = relu ? &binary<uint32_t, float, PackPair<to_bfloat16, true>>
                     : &binary<uint32_t, float, PackPair<to_bfloat16, false>>;
    else
      out.run = relu ? &binary<uint32_t, float, PackPair<to_float16, true>>
                     : &binary<uint32_t, float, PackPair<to_float16, false>>;
    return same_width(d, 4, 2);
  }
  if (to == Type::kTF32) {
    if (from != Type::kF32 || rounding != "rna") d.refuse("unknown conversion");
    out.run = &unary<uint32_t, uint32_t, RoundToTf32>;
    return same_width(d, 4, 1);
  }
  if (relu || rounding == "rna") d.refuse("unknown conversion");
  // Sources and destinations may sit in wider registers than their type.
  const std::string &result = d.operand(0), &value = d.operand(1);
  const int to_bytes = std::max({bytes_of(to), d.register_bytes(result), 2});
  out.bytes = static_cast<uint8_t>(to_bytes);
  out.d = d.destination(result, to_bytes);
  out.a = d.source(value, bytes_of(from), true);
  const int from_bytes = std::max(bytes_of(from), 2);
  out.count = static_cast<uint8_t>(std::max(d.register_bytes(value), from_bytes));
  const bool plain = !saturate && (rounding.empty() || rounding == "rn") && to_bytes == std::max(bytes_of(to), 2) &&
                     out.count == from_bytes;
  out.run = plain ? quick(to, from) : nullptr;
  if (out.run) return;
  // A float without `i` rounds to the target's precision: only to nearest is known, and .rz for bf16.
  const bool whole = rounding.size() == 3;
  const char how = rounding.empty() ? 'n' : rounding[1];
  if (is_float(to) && !whole && how != 'n' && !(how == 'z' && to == Type::kBF16)) d.refuse("unknown rounding");
  const Rounding mode = how == 'z' ? kTowardZero : how == 'm' ? kDown : how == 'p' ? kUp : kNearest;
  out.run = &convert;
  out.offset = static_cast<int64_t>(to) | static_cast<int64_t>(from) << 8 | static_cast<int64_t>(mode) << 16 |
               int64_t{saturate} << 24 | int64_t{whole} << 32;
}

}  // namespace moe::ptx
