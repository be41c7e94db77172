// Branches, barriers and the end.
#include "cuda/ptx/block.h"
#include "cuda/ptx/handlers.h"

namespace moe::ptx {
namespace {

void branch(Warp& w, const Instruction& i) { w.branch(i.target); }

void decode_bra(Decoder& d) {
  d.take("uni");
  d.out().run = &branch;
  d.out().flow = Flow::kBranch;
  d.branch_to(d.operand(0));
}

// Lanes may choose different targets.
void branch_by_table(Warp& w, const Instruction& i) {
  require_known(w, i.a, "a branch");
  const std::vector<uint32_t>& targets = w.block->kernel->branch_tables[i.target];
  const uint32_t* const index = w.reg<uint32_t>(i.a);
  if (w.executing != w.active) w.wait_at(w.pc, w.active & ~w.executing);
  for_each_lane(w.executing, [&](uint32_t lane) {
    if (index[lane] >= targets.size()) throw Fault(FaultKind::kOutOfBounds, "a branch beyond its table");
    w.wait_at(targets[index[lane]], 1u << lane);
  });
  w.active = 0;
  w.suspend_and_choose();
}

void decode_brx(Decoder& d) {
  d.take_one_of({"idx"});
  d.take("uni");
  d.out().run = &branch_by_table;
  d.out().flow = Flow::kTable;
  d.out().a = d.source(0, 4);
  d.branch_by_table(d.operand(1));
}

void leave(Warp& w, const Instruction&) { w.exit_lanes(); }
void decode_ret(Decoder& d) {
  d.take("uni");
  d.out().run = &leave;
  d.out().flow = Flow::kReturn;
}

void trap(Warp&, const Instruction&) { throw Fault(FaultKind::kBadLaunch, "trap"); }
void decode_trap(Decoder& d) { d.out().run = &trap; }

void nothing(Warp&, const Instruction&) {}
// Fences order memory that the interpreter keeps in order; hints change no result.
void decode_fence(Decoder& d) {
  d.take_one_of({"gl", "cta", "sys", "gpu", "sc", "acq_rel", "proxy"}, true);
  d.take_one_of({"gl", "cta", "sys", "gpu"}, true);
  d.out().run = &nothing;
}

uint32_t uniform(const Warp& w, Unit unit, const char* what) {
  require_known(w, unit, what);
  const uint32_t* const values = w.reg<uint32_t>(unit);
  const uint32_t first = values[std::countr_zero(w.executing)];
  for_each_lane(w.executing, [&](uint32_t lane) {
    if (values[lane] != first) throw Fault(FaultKind::kBarrier, std::string(what) + " differs between lanes");
  });
  return first;
}

constexpr uint8_t kWaits = 1, kHasCount = 2;

void barrier(Warp& w, const Instruction& i) {
  const uint32_t expected = i.count & kHasCount ? uniform(w, i.b, "a barrier's thread count") : 0;
  w.block->arrive(w, uniform(w, i.a, "a barrier's number"), expected, i.count & kWaits);
}

void barrier_reduction(Warp& w, const Instruction& i) {
  const uint32_t index = uniform(w, i.a, "a barrier's number");
  if (index >= w.block->barriers.size()) throw Fault(FaultKind::kBarrier, "no such barrier");
  Barrier& barrier = w.block->barriers[index];
  const uint32_t holds = i.negated ? ~w.predicates[i.c] : w.predicates[i.c];
  if (w.executing & ~w.known_predicates[i.c]) throw Fault(FaultKind::kUndefined, "a vote nobody wrote");
  barrier.reduction = static_cast<Reduction>(i.mode);
  barrier.votes += static_cast<uint32_t>(std::popcount(holds & w.executing));
  barrier.voters += static_cast<uint32_t>(std::popcount(w.executing));
  w.barrier_result = i.d;
  w.block->arrive(w, index, i.count & kHasCount ? uniform(w, i.b, "a barrier's thread count") : 0, true);
}

// bar is barrier with .aligned.
void decode_barrier(Decoder& d) {
  d.take("cta");
  const std::string what = d.take_one_of({"warp", "sync", "arrive", "red"});
  Instruction& out = d.out();
  if (what == "warp") return decode_warp_barrier(d);
  d.take("aligned");
  size_t next = 0;
  if (what == "red") {
    const std::string operation = d.take_one_of({"popc", "and", "or"});
    out.mode = static_cast<uint8_t>(operation == "popc"  ? Reduction::kPopc
                                    : operation == "and" ? Reduction::kAnd
                                                         : Reduction::kOr);
    d.take_one_of({"u32", "pred"});
    out.d = operation == "popc" ? d.destination(next++, 4) : d.predicate(d.operand(next++));
  }
  out.a = d.source(next++, 4);
  out.count = what == "arrive" ? 0 : kWaits;
  if (next < d.operand_count() && !d.is_predicate(d.operand(next))) {
    out.b = d.source(next++, 4);
    out.count |= kHasCount;
  }
  if (what == "red") out.c = d.predicate(d.operand(next++), &out.negated);
  out.run = what == "red" ? &barrier_reduction : &barrier;
}

void decode_hint(Decoder& d) {  // nanosleep, prefetch, griddepcontrol
  d.take_one_of({"u32", "wait", "launch_dependents"}, true);
  for (size_t i = 0; i < d.operand_count(); ++i) d.operand(i);
  d.out().run = &nothing;
}

}  // namespace

const DecodeTable& control_decoders() {
  static const DecodeTable table = {
      {"bra", &decode_bra},
      {"brx", &decode_brx},
      {"ret", &decode_ret},
      {"exit", &decode_ret},
      {"trap", &decode_trap},
      {"membar", &decode_fence},
      {"fence", &decode_fence},
      {"bar", &decode_barrier},
      {"barrier", &decode_barrier},
      {"nanosleep", &decode_hint},
      {"griddepcontrol", &decode_hint},
  };
  return table;
}

}  // namespace moe::ptx
