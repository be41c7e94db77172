#include "cuda/ptx/atomics.h"

#include <mutex>

#include "cuda/ptx/block.h"
#include "cuda/ptx/handlers.h"
#include "cuda/ptx/traffic.h"

namespace moe::ptx {
namespace {

enum Operation : uint8_t { kAdd, kMin, kMax, kAnd, kOr, kXor, kExchange, kCompareExchange };

// Blocks run on several host threads: one atomic operation at a time.
std::mutex& atomic_mutex() {
  static std::mutex mutex;
  return mutex;
}

template <class T>
T result_of(Operation operation, T old, T b, T c) {
  switch (operation) {
    case kAdd:
      if constexpr (std::is_floating_point_v<T>)
        return old + b;
      else
        return static_cast<T>(std::make_unsigned_t<T>(old) + std::make_unsigned_t<T>(b));
    case kMin:
      return b < old ? b : old;
    case kMax:
      return old < b ? b : old;
    case kExchange:
      return b;
    case kCompareExchange:
      return old == b ? c : old;
    default:
      break;
  }
  if constexpr (std::is_integral_v<T>) {
    if (operation == kAnd) return old & b;
    if (operation == kOr) return old | b;
    return old ^ b;
  }
  return old;
}

// Instruction: a address, b and c operands, d the old value where count is 1, target the operation.
template <class T>
void atomic(Warp& w, const Instruction& i) {
  Block& block = *w.block;
  require_known(w, i.a, "an address");
  T old[kLanes] = {};
  uint32_t known = 0;
  const std::lock_guard lock(atomic_mutex());
  for_each_lane(w.executing, [&](uint32_t lane) {
    uint64_t address =
        (i.mode == 8 ? w.reg<uint64_t>(i.a)[lane] : w.reg<uint32_t>(i.a)[lane]) + static_cast<uint64_t>(i.offset);
    bool shared = i.space == Space::kShared;
    if (i.space == Space::kGeneric && address >= kSharedWindow && address < kLocalWindow) {
      address -= kSharedWindow;
      shared = true;
    }
    if (address % sizeof(T) != 0) throw Fault(FaultKind::kMisaligned, "an atomic operation");
    uint8_t* at = nullptr;
    bool was_known = false;
    const bool operands = (w.known[i.b] & w.known[i.c]) >> lane & 1;
    if (shared) {
      block.shared.check_bounds(address, sizeof(T), "an atomic operation");
      const auto offset = static_cast<uint32_t>(address);
      block.shared.update(w.index, static_cast<uint8_t>(lane), offset, sizeof(T));
      at = block.shared.at(offset);
      was_known = block.shared.defined(offset, sizeof(T));
      block.shared.define(offset, sizeof(T), was_known && operands);
    } else {
      at = block.memory->at(address, sizeof(T), "an atomic operation");
      was_known = block.memory->defined(address, sizeof(T));
      block.memory->define(address, sizeof(T), was_known && operands);
    }
    std::memcpy(&old[lane], at, sizeof(T));
    known |= uint32_t{was_known} << lane;
    const T value = result_of(static_cast<Operation>(i.target), old[lane], w.reg<T>(i.b)[lane], w.reg<T>(i.c)[lane]);
    std::memcpy(at, &value, sizeof(T));
  });
  if (i.count == 1) w.store(i.d, old, known);
}

// Global sectors read, and phases of the writes to shared memory that follow.
void count_copy(Block& block, const AsyncCopy& copy, const uint64_t (&addresses)[kLanes], uint32_t reading) {
  count_sectors(block.counters, addresses, reading, copy.bytes);
  uint32_t least = 0;
  block.counters.copy_phases += shared_phases(copy.shared, copy.pending, copy.bytes, least);
  block.counters.least_copy_phases += least;
}

// Instruction: d where to, a where from, b how many bytes (0: all), bytes the size, count 1: b is there.
void start_copy(Warp& w, const Instruction& i) {
  Block& block = *w.block;
  require_known(w, i.a, "an address");
  require_known(w, i.d, "an address");
  if (i.count == 1) require_known(w, i.b, "a copy's size");
  AsyncCopy copy{w.executing, i.bytes, {}, {}, {}, {}};
  uint64_t addresses[kLanes];
  uint32_t reading = 0;
  for_each_lane(w.executing, [&](uint32_t lane) {
    const uint64_t to = (i.mode == 8 ? w.reg<uint64_t>(i.d)[lane] : w.reg<uint32_t>(i.d)[lane]) + i.target;
    const uint64_t from = w.reg<uint64_t>(i.a)[lane] + static_cast<uint64_t>(i.offset);
    const uint32_t wanted = i.count == 1 ? w.reg<uint32_t>(i.b)[lane] : i.bytes;
    if (wanted > i.bytes) throw Fault(FaultKind::kOutOfBounds, "cp.async of more bytes than its size");
    if (to % i.bytes != 0 || from % i.bytes != 0) throw Fault(FaultKind::kMisaligned, "cp.async");
    block.shared.check_bounds(to, i.bytes, "cp.async");
    block.shared.begin_copy(w.index, static_cast<uint8_t>(lane), static_cast<uint32_t>(to), i.bytes);
    block.shared.define(static_cast<uint32_t>(to), i.bytes, false);
    std::memset(block.shared.at(static_cast<uint32_t>(to)), 0xff, i.bytes);
    if (wanted > 0) {
      block.memory->at(from, wanted, "cp.async");
      block.memory->check_read(from, wanted, block.accessor(w, lane), false);
      reading |= 1u << lane;
    }
    copy.shared[lane] = static_cast<uint32_t>(to);
    copy.global[lane] = addresses[lane] = from;
    copy.source_bytes[lane] = static_cast<uint8_t>(wanted);
    copy.group[lane] = w.committed[lane];
  });
  count_copy(block, copy, addresses, reading);
  w.copies.push_back(copy);
}

void land(Block& block, Warp& w, const AsyncCopy& copy, uint32_t lane) {
  const uint32_t to = copy.shared[lane], wanted = copy.source_bytes[lane];
  uint8_t* const at = block.shared.at(to);
  block.shared.land_copy(w.index, static_cast<uint8_t>(lane), to, copy.bytes);
  block.shared.define(to, copy.bytes, true);
  std::memset(at + wanted, 0, copy.bytes - wanted);
  if (wanted == 0) return;
  std::memcpy(at, block.memory->at(copy.global[lane], wanted, "cp.async"), wanted);
  if (!block.memory->defined(copy.global[lane], wanted))
    for (uint32_t byte = 0; byte < wanted; ++byte)
      block.shared.define(to + byte, 1, block.memory->defined(copy.global[lane] + byte, 1));
}

void commit_copies(Warp& w, const Instruction&) {
  for_each_lane(w.executing, [&](uint32_t lane) { ++w.committed[lane]; });
}

// Copies land at the latest moment that is allowed: whoever waits too little sees nothing of them. Instruction: offset
// the groups that may stay under way, -1 for wait_all, which waits for what is not committed, too.
void wait_for_copies(Warp& w, const Instruction& i) {
  for (AsyncCopy& copy : w.copies) {
    for_each_lane(copy.pending & w.executing, [&](uint32_t lane) {
      const bool due = i.offset < 0 || copy.group[lane] + static_cast<uint64_t>(i.offset) < w.committed[lane];
      if (!due) return;
      land(*w.block, w, copy, lane);
      copy.pending &= ~(1u << lane);
    });
  }
  std::erase_if(w.copies, [](const AsyncCopy& copy) { return copy.pending == 0; });
}

void nothing(Warp&, const Instruction&) {}

}  // namespace

void decode_atomic(Decoder& d, bool has_result) {
  for (const std::string_view hint : {"relaxed", "acquire", "release", "acq_rel", "cta", "gpu", "sys"}) d.take(hint);
  Instruction& out = d.out();
  const std::string space = d.take_one_of({"global", "shared", "shared::cta"}, true);
  out.space = space.empty() ? Space::kGeneric : space == "global" ? Space::kGlobal : Space::kShared;
  const std::string operation = d.take_one_of({"add", "min", "max", "and", "or", "xor", "exch", "cas"});
  d.take("ftz");
  const Type type = d.take_type();
  switch (type) {
    case Type::kB32:
    case Type::kU32:
      out.run = &atomic<uint32_t>;
      break;
    case Type::kS32:
      out.run = &atomic<int32_t>;
      break;
    case Type::kB64:
    case Type::kU64:
      out.run = &atomic<uint64_t>;
      break;
    case Type::kS64:
      out.run = &atomic<int64_t>;
      break;
    case Type::kF32:
      out.run = &atomic<float>;
      break;
    case Type::kF64:
      out.run = &atomic<double>;
      break;
    default:
      d.refuse("this type is not known here");
  }
  constexpr std::string_view kNames[] = {"add", "min", "max", "and", "or", "xor", "exch", "cas"};
  out.target = static_cast<uint32_t>(std::find(std::begin(kNames), std::end(kNames), operation) - std::begin(kNames));
  const int bytes = bytes_of(type);
  size_t next = 0;
  out.count = has_result ? 1 : 0;
  if (has_result) out.d = d.destination(next++, bytes);
  d.memory(next++, out.a, out.offset, out.space == Space::kShared ? 4 : 8);
  out.b = d.source(next++, bytes);
  out.c = operation == "cas" ? d.source(next, bytes) : out.b;
}

void decode_copy(Decoder& d) {
  d.take_one_of({"async"});
  Instruction& out = d.out();
  if (d.take("commit_group")) {
    out.run = &commit_copies;
    return;
  }
  if (d.take("wait_all")) {
    out.run = &wait_for_copies;
    out.offset = -1;
    return;
  }
  if (d.take("wait_group")) {
    out.run = &wait_for_copies;
    out.offset = d.immediate(0);
    return;
  }
  const bool cached = d.take_one_of({"ca", "cg"}) == "ca";
  d.take_one_of({"shared", "shared::cta"});
  d.take_one_of({"global"});
  d.take_one_of({"L2::64B", "L2::128B", "L2::256B"}, true);
  const bool hint = d.take("L2::cache_hint");
  int64_t to_offset = 0;
  d.memory(1, out.a, out.offset, 8);
  if (out.mode != 8) d.refuse("a global address of 32 bits");
  d.memory(0, out.d, to_offset, 4);
  out.target = static_cast<uint32_t>(to_offset);
  const int64_t bytes = d.immediate(2);
  if (bytes != 16 && !(cached && (bytes == 4 || bytes == 8))) d.refuse("a copy of this size");
  out.bytes = static_cast<uint8_t>(bytes);
  const size_t more = d.operand_count() - 3 - (hint ? 1 : 0);
  out.count = more == 1 ? 1 : 0;
  if (more == 1) out.b = d.source(3, 4);
  if (hint) d.source(d.operand_count() - 1, 8);
  out.run = &start_copy;
}

void decode_policy(Decoder& d) {
  for (const std::string_view word :
       {"fractional", "L2::evict_first", "L2::evict_last", "L2::evict_normal", "L2::evict_unchanged", "b64"})
    d.take(word);
  d.out().run = [](Warp& w, const Instruction& i) {
    const uint64_t policy[kLanes] = {};
    w.store(i.d, policy, kAllLanes);
  };
  d.out().d = d.destination(0, 8);
  for (size_t i = 1; i < d.operand_count(); ++i) d.operand(i);
}

void decode_prefetch(Decoder& d) {
  for (const std::string_view word : {"global", "L1", "L2", "L2::evict_last", "L2::evict_normal"}) d.take(word);
  for (size_t i = 0; i < d.operand_count(); ++i) d.operand(i);
  d.out().run = &nothing;
}

}  // namespace moe::ptx
