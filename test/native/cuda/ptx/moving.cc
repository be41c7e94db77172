// mov, cvta and prmt. Conversions are in converting.cc.
#include "cuda/ptx/block.h"
#include "cuda/ptx/converting.h"
#include "cuda/ptx/handlers.h"

namespace moe::ptx {
namespace {

template <class T>
void move(Warp& w, const Instruction& i) {
  T out[kLanes];
  std::memcpy(out, w.reg<T>(i.a), sizeof out);
  w.store(i.d, out, w.known[i.a]);
}

void move_predicate(Warp& w, const Instruction& i) {
  w.store_predicate(i.d, i.negated ? ~w.predicates[i.a] : w.predicates[i.a], w.known_predicates[i.a]);
}

// mov of an immediate to a predicate
void set_predicate(Warp& w, const Instruction& i) { w.store_predicate(i.d, i.offset ? kAllLanes : 0, kAllLanes); }

// {a, b, ...} -> d
template <class Whole, class Part>
void pack(Warp& w, const Instruction& i) {
  Whole out[kLanes] = {};
  uint32_t known = kAllLanes;
  for (uint32_t part = 0; part < i.count; ++part) {
    const Part* const from = w.reg<Part>(i.vector[part]);
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      out[lane] = static_cast<Whole>(out[lane] | Whole{from[lane]} << (8 * sizeof(Part) * part));
    known &= w.known[i.vector[part]];
  }
  w.store(i.d, out, known);
}

// a -> {d, e, ...}
template <class Whole, class Part>
void unpack(Warp& w, const Instruction& i) {
  Whole from[kLanes];
  std::memcpy(from, w.reg<Whole>(i.a), sizeof from);
  const uint32_t known = w.known[i.a];
  for (uint32_t part = 0; part < i.count; ++part) {
    Part out[kLanes];
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      out[lane] = static_cast<Part>(from[lane] >> (8 * sizeof(Part) * part));
    w.store(i.vector[part], out, known);
  }
}

void decode_mov(Decoder& d) {
  const Type type = d.take_type();
  Instruction& out = d.out();
  const std::string &to = d.operand(0), &from = d.operand(1);
  if (type == Type::kPred) {
    out.d = d.predicate(to);
    if (d.is_predicate(from)) {
      out.run = &move_predicate;
      out.a = d.predicate(from, &out.negated);
    } else {
      out.run = &set_predicate;
      out.offset = d.immediate(1);
    }
    return;
  }
  const int bytes = bytes_of(type);
  if (from[0] == '{' || to[0] == '{') {
    const bool packs = from[0] == '{';
    const std::vector<std::string> parts = d.vector(packs ? 1 : 0);
    const int part = bytes / static_cast<int>(parts.size());
    out.count = static_cast<uint8_t>(parts.size());
    for (size_t i = 0; i < parts.size(); ++i)
      out.vector[i] = packs ? d.source(parts[i], part) : d.destination(parts[i], part);
    if (packs) {
      out.d = d.destination(0, bytes);
      out.run = bytes == 8  ? part == 4 ? &pack<uint64_t, uint32_t> : &pack<uint64_t, uint16_t>
                 : part == 2 ? &pack<uint32_t, uint16_t>
                            : nullptr;
    } else {
      out.a = d.source(1, bytes);
      out.run = bytes == 8  ? part == 4 ? &unpack<uint64_t, uint32_t> : &unpack<uint64_t, uint16_t>
                 : part == 2 ? &unpack<uint32_t, uint16_t>
                            : nullptr;
    }
    if (!out.run) d.refuse("parts of this width");
    return;
  }
  out.run = bytes == 8 ? &move<uint64_t> : bytes == 4 ? &move<uint32_t> : &move<uint16_t>;
  same_width(d, bytes, 1);
}

// A generic address of global memory is the address; those of shared and local memory lie in windows.
struct Keep {
  static uint64_t apply(uint64_t a) { return a; }
};
template <uint64_t kWindow>
struct ToGeneric {
  static uint64_t apply(uint64_t a) { return a + kWindow; }
};
template <uint64_t kWindow>
struct FromGeneric {
  static uint64_t apply(uint64_t a) { return a - kWindow; }
};

void decode_cvta(Decoder& d) {
  const bool to = d.take("to");
  const std::string space = d.take_one_of({"global", "shared", "local", "const"});
  d.take_one_of({"u64"});
  if (space == "shared")
    d.out().run = to ? &unary<uint64_t, uint64_t, FromGeneric<kSharedWindow>>
                     : &unary<uint64_t, uint64_t, ToGeneric<kSharedWindow>>;
  else if (space == "local")
    d.out().run = to ? &unary<uint64_t, uint64_t, FromGeneric<kLocalWindow>>
                     : &unary<uint64_t, uint64_t, ToGeneric<kLocalWindow>>;
  else
    d.out().run = &unary<uint64_t, uint64_t, Keep>;
  same_width(d, 8, 1);
}

// Bytes picked from the pair (b, a) by the nibbles of the selector; a nibble's top bit replicates the byte's sign.
struct Permute {
  static uint32_t apply(uint32_t a, uint32_t b, uint32_t selector) {
    const uint64_t pair = uint64_t{b} << 32 | a;
    uint32_t out = 0;
    for (uint32_t byte = 0; byte < 4; ++byte) {
      const uint32_t pick = selector >> (4 * byte) & 15;
      uint32_t value = static_cast<uint32_t>(pair >> (8 * (pick & 7)) & 255);
      if (pick & 8) value = value & 128 ? 255 : 0;
      out |= value << (8 * byte);
    }
    return out;
  }
};

void decode_prmt(Decoder& d) {
  d.take_one_of({"b32"});
  d.out().run = &ternary<uint32_t, uint32_t, Permute>;
  same_width(d, 4, 3);
}

}  // namespace

const DecodeTable& moving_decoders() {
  static const DecodeTable table = {
      {"mov", &decode_mov}, {"cvta", &decode_cvta}, {"prmt", &decode_prmt}, {"cvt", &decode_cvt}};
  return table;
}

}  // namespace moe::ptx
