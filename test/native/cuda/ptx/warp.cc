#include "cuda/ptx/warp.h"

#include <algorithm>

#include "cuda/ptx/fault.h"

namespace moe::ptx {

void Warp::wait_at(uint32_t at, uint32_t lanes) {
  const auto place = std::find_if(waiting.begin(), waiting.end(), [at](const LaneGroup& g) { return g.pc <= at; });
  if (place != waiting.end() && place->pc == at)
    *place = {at, place->lanes | lanes, false};
  else
    waiting.insert(place, {at, lanes, false});
}

void Warp::branch(uint32_t target) {
  const uint32_t taken = executing, staying = active & ~taken;
  if (staying == 0) {
    pc = target;
    return;
  }
  wait_at(pc, staying);
  wait_at(target, taken);
  active = 0;
  suspend_and_choose();
}

void Warp::suspend_and_choose() {
  if (active != 0) wait_at(pc, active);
  active = 0;
  yield = waiting.empty();
  if (yield) return;
  const auto next = std::find_if(waiting.rbegin(), waiting.rend(), [](const LaneGroup& g) { return !g.blocked; });
  if (next == waiting.rend())
    throw Fault(FaultKind::kBarrier, "lanes wait for others of their member mask that never come");
  pc = next->pc;
  active = next->lanes;
  waiting.erase(std::next(next).base());
  stop = waiting.empty() ? kAllLanes : waiting.back().pc;
}

void Warp::await_lanes() {
  --pc;
  wait_at(pc, active);
  std::ranges::find(waiting, pc, &LaneGroup::pc)->blocked = true;
  active = 0;
  suspend_and_choose();
}

void Warp::exit_lanes() {
  for (const AsyncCopy& copy : copies)
    if (copy.pending & executing)
      throw Fault(FaultKind::kPendingCopies, "a thread ends while its cp.async copies are under way");
  alive &= ~executing;
  active &= ~executing;
  if (active == 0) suspend_and_choose();
}

void require_known(const Warp& warp, Unit unit, const char* what) {
  const uint32_t unknown = warp.executing & ~warp.known[unit];
  if (unknown != 0)
    throw Fault(FaultKind::kUndefined, std::string(what) + " of lane " + std::to_string(std::countr_zero(unknown)) +
                                           " depends on a value nobody wrote");
}

}  // namespace moe::ptx
