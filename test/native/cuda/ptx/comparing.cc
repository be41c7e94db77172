// setp, set, selp, min and max.
#include "cuda/ptx/floating.h"
#include "cuda/ptx/half.h"
#include "cuda/ptx/handlers.h"

namespace moe::ptx {
namespace {

enum Comparison : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe };
enum Join : uint8_t { kNoJoin, kJoinAnd, kJoinOr, kJoinXor };

template <class T, Comparison kHow>
bool compare(T a, T b) {
  switch (kHow) {
    case kEq:
      return a == b;
    case kNe:
      return a != b;
    case kLt:
      return a < b;
    case kLe:
      return a <= b;
    case kGt:
      return a > b;
    case kGe:
      return a >= b;
  }
}

// Unordered comparisons (equ, ltu, ...) hold where either side is NaN; ordered ones do not, `ne` included.
template <class T, Comparison kHow, bool kUnordered>
void set_predicate(Warp& w, const Instruction& i) {
  const T *const a = w.reg<T>(i.a), *const b = w.reg<T>(i.b);
  uint32_t holds = 0;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    bool value = compare<T, kHow>(a[lane], b[lane]);
    if constexpr (std::is_floating_point_v<T>) {
      const bool nan = a[lane] != a[lane] || b[lane] != b[lane];
      if (nan) value = kUnordered;
    }
    holds |= uint32_t{value} << lane;
  }
  uint32_t known = w.known[i.a] & w.known[i.b], other = 0;
  if (i.mode != kNoJoin) {
    other = i.negated ? ~w.predicates[i.c] : w.predicates[i.c];
    known &= w.known_predicates[i.c];
  }
  const auto joined = [&](uint32_t value) {
    return i.mode == kNoJoin    ? value
           : i.mode == kJoinAnd ? value & other
           : i.mode == kJoinOr  ? value | other
                                : value ^ other;
  };
  w.store_predicate(i.d, joined(holds), known);
  if (i.count == 2) w.store_predicate(i.e, joined(~holds), known);
}

template <class T>
Handler comparing(Decoder& d, std::string how) {
  const bool unsigned_order = how == "lo" || how == "ls" || how == "hi" || how == "hs";
  if (unsigned_order) how = how == "lo" ? "lt" : how == "ls" ? "le" : how == "hi" ? "gt" : "ge";
  const bool unordered = how.size() == 3 && how != "num" && how != "nan";
  if (unordered) how.pop_back();
  const auto pick = [&]<Comparison kHow>() -> Handler {
    if constexpr (std::is_floating_point_v<T>)
      return unordered ? &set_predicate<T, kHow, true> : &set_predicate<T, kHow, false>;
    if (unordered) d.refuse("not for integers");
    return &set_predicate<T, kHow, false>;
  };
  if (how == "eq") return pick.template operator()<kEq>();
  if (how == "ne") return pick.template operator()<kNe>();
  if (how == "lt") return pick.template operator()<kLt>();
  if (how == "le") return pick.template operator()<kLe>();
  if (how == "gt") return pick.template operator()<kGt>();
  if (how == "ge") return pick.template operator()<kGe>();
  d.refuse("unknown comparison");
}

// setp.num, setp.nan
template <class T, bool kNan>
void set_is_nan(Warp& w, const Instruction& i) {
  const T *const a = w.reg<T>(i.a), *const b = w.reg<T>(i.b);
  uint32_t holds = 0;
  for (uint32_t lane = 0; lane < kLanes; ++lane)
    holds |= uint32_t{(a[lane] != a[lane] || b[lane] != b[lane]) == kNan} << lane;
  w.store_predicate(i.d, holds, w.known[i.a] & w.known[i.b]);
}

void decode_setp(Decoder& d) {
  const Type type = d.take_type();
  d.take("ftz");  // flushing changes no comparison but that of subnormals, which kernels here do not make
  const std::string how = d.take_one_of({"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu",
                                         "ltu", "leu", "gtu", "geu", "num", "nan"});
  const std::string join = d.take_one_of({"and", "or", "xor"}, true);
  Instruction& out = d.out();
  const bool is_nan_test = how == "num" || how == "nan";
  switch (type) {
    case Type::kU16:
    case Type::kB16:
      out.run = comparing<uint16_t>(d, how);
      break;
    case Type::kS16:
      out.run = comparing<int16_t>(d, how);
      break;
    case Type::kU32:
    case Type::kB32:
      out.run = comparing<uint32_t>(d, how);
      break;
    case Type::kS32:
      out.run = comparing<int32_t>(d, how);
      break;
    case Type::kU64:
    case Type::kB64:
      out.run = comparing<uint64_t>(d, how);
      break;
    case Type::kS64:
      out.run = comparing<int64_t>(d, how);
      break;
    case Type::kF32:
      out.run = !is_nan_test   ? comparing<float>(d, how)
                : how == "nan" ? &set_is_nan<float, true>
                               : &set_is_nan<float, false>;
      break;
    case Type::kF64:
      out.run = !is_nan_test   ? comparing<double>(d, how)
                : how == "nan" ? &set_is_nan<double, true>
                               : &set_is_nan<double, false>;
      break;
    default:
      d.refuse("this type is not known here");
  }
  const std::vector<std::string> results = split(d.operand(0), '|');
  out.d = d.predicate(results[0]);
  out.count = static_cast<uint8_t>(results.size());
  if (results.size() == 2) out.e = d.predicate(results[1]);
  out.a = d.source(1, bytes_of(type));
  out.b = d.source(2, bytes_of(type));
  if (!join.empty()) {
    out.mode = join == "and" ? kJoinAnd : join == "or" ? kJoinOr : kJoinXor;
    out.c = d.predicate(d.operand(3), &out.negated);
  }
}

template <class T>
void select(Warp& w, const Instruction& i) {
  const T *const a = w.reg<T>(i.a), *const b = w.reg<T>(i.b);
  const uint32_t which = w.predicates[i.c];
  T out[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) out[lane] = which >> lane & 1 ? a[lane] : b[lane];
  w.store(i.d, out, ((w.known[i.a] & which) | (w.known[i.b] & ~which)) & w.known_predicates[i.c]);
}

void decode_selp(Decoder& d) {
  const int bytes = bytes_of(d.take_type());
  d.out().run = bytes == 8 ? &select<uint64_t> : bytes == 4 ? &select<uint32_t> : &select<uint16_t>;
  same_width(d, bytes, 2);
  d.out().c = d.predicate(d.operand(3));
}

struct Min {
  template <class T>
  static T apply(T a, T b) {
    return b < a ? b : a;
  }
};
struct Max {
  template <class T>
  static T apply(T a, T b) {
    return a < b ? b : a;
  }
};

template <class Op>
void decode_extreme(Decoder& d) {
  const Type type = d.take_type();
  if (is_float(type)) return decode_float_extreme(d, type);
  d.out().run = for_integer<BinaryOf<Op>>(d, type);
  same_width(d, bytes_of(type), 2);
}

// testp: a property of one float.
template <class Op>
void test_property(Warp& w, const Instruction& i) {
  const float* const a = w.reg<float>(i.a);
  uint32_t holds = 0;
  for (uint32_t lane = 0; lane < kLanes; ++lane) holds |= uint32_t{Op::apply(a[lane])} << lane;
  w.store_predicate(i.d, holds, w.known[i.a]);
}
struct IsFinite {
  static bool apply(float a) { return std::isfinite(a); }
};
struct IsInfinite {
  static bool apply(float a) { return std::isinf(a); }
};
struct IsNan {
  static bool apply(float a) { return std::isnan(a); }
};

void decode_testp(Decoder& d) {
  if (d.take_type() != Type::kF32) d.refuse("this type is not known here");
  const std::string what = d.take_one_of({"finite", "infinite", "notanumber"});
  d.out().run = what == "finite"     ? &test_property<IsFinite>
                : what == "infinite" ? &test_property<IsInfinite>
                                     : &test_property<IsNan>;
  d.out().d = d.predicate(d.operand(0));
  d.out().a = d.source(1, 4);
}

}  // namespace

const DecodeTable& comparing_decoders() {
  static const DecodeTable table = {
      {"setp", &decode_setp},        {"selp", &decode_selp},   {"min", &decode_extreme<Min>},
      {"max", &decode_extreme<Max>}, {"testp", &decode_testp},
  };
  return table;
}

}  // namespace moe::ptx
