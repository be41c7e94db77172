// shfl, vote, match, redux, activemask: instructions a warp executes together.
#include "cuda/ptx/block.h"
#include "cuda/ptx/handlers.h"

namespace moe::ptx {
namespace {

// The member mask names lanes that must execute the instruction together, itself among them. False where some are not
// here yet: they are waited for.
bool all_here(Warp& w, Unit unit) {
  require_known(w, unit, "a member mask");
  const uint32_t* const masks = w.reg<uint32_t>(unit);
  bool here = true;
  for_each_lane(w.executing, [&](uint32_t lane) {
    if (!(masks[lane] >> lane & 1)) throw Fault(FaultKind::kBarrier, "a lane is missing in its own member mask");
    here &= (masks[lane] & w.alive & ~w.executing) == 0;
  });
  if (!here) w.await_lanes();
  return here;
}

enum Shuffle : uint8_t { kUp, kDown, kButterfly, kIndex };

// Instruction: a value, b lane or distance, c clamp and segment mask, e member mask, d result; count 2: target is the
// predicate that says whether the source lane was in range.
void shuffle(Warp& w, const Instruction& i) {
  if (!all_here(w, i.e)) return;
  require_known(w, i.b, "a shuffle's distance");
  const uint32_t* const masks = w.reg<uint32_t>(i.e);
  const uint32_t *const in = w.reg<uint32_t>(i.a), *const distances = w.reg<uint32_t>(i.b);
  const uint32_t* const bounds = w.reg<uint32_t>(i.c);
  uint32_t out[kLanes] = {}, known = 0, in_range = 0;
  for_each_lane(w.executing, [&](uint32_t lane) {
    const uint32_t mask = masks[lane], distance = distances[lane] & 31;
    const uint32_t segment = bounds[lane] >> 8 & 31, clamp = bounds[lane] & 31;
    const uint32_t last = (lane & segment) | (clamp & ~segment), first = lane & segment;
    int from = 0;
    bool inside = false;
    switch (i.mode) {
      case kUp:
        from = static_cast<int>(lane) - static_cast<int>(distance), inside = from >= static_cast<int>(last);
        break;
      case kDown:
        from = static_cast<int>(lane + distance), inside = from <= static_cast<int>(last);
        break;
      case kButterfly:
        from = static_cast<int>(lane ^ distance), inside = from <= static_cast<int>(last);
        break;
      default:
        from = static_cast<int>(first | (distance & ~segment)), inside = from <= static_cast<int>(last);
        break;
    }
    if (!inside) from = static_cast<int>(lane);
    if (!((mask & w.executing) >> from & 1))
      throw Fault(FaultKind::kBarrier, "a shuffle reads from a lane outside of its member mask");
    out[lane] = in[from];
    known |= (w.known[i.a] >> from & 1) << lane;
    in_range |= uint32_t{inside} << lane;
  });
  w.store(i.d, out, known);
  if (i.count == 2) w.store_predicate(static_cast<Unit>(i.target), in_range, kAllLanes);
}

void decode_shfl(Decoder& d) {
  d.take_one_of({"sync"});
  const std::string how = d.take_one_of({"up", "down", "bfly", "idx"});
  d.take_one_of({"b32"});
  Instruction& out = d.out();
  out.mode = how == "up" ? kUp : how == "down" ? kDown : how == "bfly" ? kButterfly : kIndex;
  const std::vector<std::string> results = split(d.operand(0), '|');
  out.d = d.destination(results[0], 4);
  out.count = static_cast<uint8_t>(results.size());
  if (results.size() == 2) out.target = d.predicate(results[1]);
  out.a = d.source(1, 4);
  out.b = d.source(2, 4);
  out.c = d.source(3, 4);
  out.e = d.source(4, 4);
  out.run = &shuffle;
}

enum Vote : uint8_t { kAll, kAny, kUniform, kBallot };

// Instruction: a predicate, e member mask, d result.
void vote(Warp& w, const Instruction& i) {
  if (!all_here(w, i.e)) return;
  const uint32_t* const masks = w.reg<uint32_t>(i.e);
  if (w.executing & ~w.known_predicates[i.a]) throw Fault(FaultKind::kUndefined, "a vote nobody wrote");
  const uint32_t holds = i.negated ? ~w.predicates[i.a] : w.predicates[i.a];
  uint32_t ballots[kLanes] = {}, values = 0;
  for_each_lane(w.executing, [&](uint32_t lane) {
    const uint32_t mask = masks[lane] & w.executing, ballot = holds & mask;
    ballots[lane] = ballot;
    const bool value = i.mode == kAll ? ballot == mask : i.mode == kAny ? ballot != 0 : ballot == mask || ballot == 0;
    values |= uint32_t{value} << lane;
  });
  if (i.mode == kBallot)
    w.store(i.d, ballots, kAllLanes);
  else
    w.store_predicate(i.d, values, kAllLanes);
}

void decode_vote(Decoder& d) {
  d.take_one_of({"sync"});
  const std::string how = d.take_one_of({"all", "any", "uni", "ballot"});
  d.take_one_of({"pred", "b32"});
  Instruction& out = d.out();
  out.mode = how == "all" ? kAll : how == "any" ? kAny : how == "uni" ? kUniform : kBallot;
  out.d = how == "ballot" ? d.destination(0, 4) : d.predicate(d.operand(0));
  out.a = d.predicate(d.operand(1), &out.negated);
  out.e = d.source(2, 4);
  out.run = &vote;
}

// match.any: the lanes with the same value.
template <class T>
void match_any(Warp& w, const Instruction& i) {
  if (!all_here(w, i.e)) return;
  require_known(w, i.a, "a value to match");
  const uint32_t* const masks = w.reg<uint32_t>(i.e);
  const T* const in = w.reg<T>(i.a);
  uint32_t out[kLanes] = {};
  for_each_lane(w.executing, [&](uint32_t lane) {
    for_each_lane(masks[lane] & w.executing,
                  [&](uint32_t other) { out[lane] |= uint32_t{in[other] == in[lane]} << other; });
  });
  w.store(i.d, out, kAllLanes);
}

void decode_match(Decoder& d) {
  d.take_one_of({"any"});
  d.take_one_of({"sync"});
  const int bytes = bytes_of(d.take_type());
  d.out().d = d.destination(0, 4);
  d.out().a = d.source(1, bytes);
  d.out().e = d.source(2, 4);
  d.out().run = bytes == 8 ? &match_any<uint64_t> : &match_any<uint32_t>;
}

enum Redux : uint8_t { kSum, kLeast, kGreatest, kBitAnd, kBitOr, kBitXor };

template <class T>
void reduce(Warp& w, const Instruction& i) {
  if (!all_here(w, i.e)) return;
  const uint32_t* const masks = w.reg<uint32_t>(i.e);
  const T* const in = w.reg<T>(i.a);
  T out[kLanes] = {};
  uint32_t known = 0;
  for_each_lane(w.executing, [&](uint32_t lane) {
    const uint32_t mask = masks[lane] & w.executing;
    T value = in[lane];
    for_each_lane(mask & ~(1u << lane), [&](uint32_t other) {
      const T b = in[other];
      switch (i.mode) {
        case kSum:
          value = static_cast<T>(uint32_t(value) + uint32_t(b));
          break;
        case kLeast:
          value = b < value ? b : value;
          break;
        case kGreatest:
          value = value < b ? b : value;
          break;
        case kBitAnd:
          value &= b;
          break;
        case kBitOr:
          value |= b;
          break;
        default:
          value ^= b;
          break;
      }
    });
    out[lane] = value;
    known |= uint32_t{(mask & ~w.known[i.a]) == 0} << lane;
  });
  w.store(i.d, out, known);
}

void decode_redux(Decoder& d) {
  d.take_one_of({"sync"});
  const std::string how = d.take_one_of({"add", "min", "max", "and", "or", "xor"});
  const Type type = d.take_type();
  d.out().mode = how == "add"   ? kSum
                 : how == "min" ? kLeast
                 : how == "max" ? kGreatest
                 : how == "and" ? kBitAnd
                 : how == "or"  ? kBitOr
                                : kBitXor;
  if (bytes_of(type) != 4 || is_float(type)) d.refuse("this type is not known here");
  d.out().d = d.destination(0, 4);
  d.out().a = d.source(1, 4);
  d.out().e = d.source(2, 4);
  d.out().run = type == Type::kS32 ? &reduce<int32_t> : &reduce<uint32_t>;
}

// Orders memory between the lanes of the mask; only between all of them is it remembered.
void synchronize_warp(Warp& w, const Instruction& i) {
  if (!all_here(w, i.e)) return;
  if (w.executing == w.alive) w.block->shared.synchronize_warp(w.index);
}

void decode_activemask(Decoder& d) {
  d.take_one_of({"b32"});
  d.out().d = d.destination(0, 4);
  d.out().run = [](Warp& w, const Instruction& i) {
    uint32_t out[kLanes];
    std::fill(out, out + kLanes, w.executing);
    w.store(i.d, out, kAllLanes);
  };
}

}  // namespace

void decode_warp_barrier(Decoder& d) {
  d.take_one_of({"sync"});
  d.out().e = d.source(0, 4);
  d.out().run = &synchronize_warp;
}

const DecodeTable& warp_decoders() {
  static const DecodeTable table = {
      {"shfl", &decode_shfl},
      {"vote", &decode_vote},
      {"match", &decode_match},
      {"redux", &decode_redux},
      {"activemask", &decode_activemask},
  };
  return table;
}

}  // namespace moe::ptx
