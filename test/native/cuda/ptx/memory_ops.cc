// ld and st in every space.
#include "cuda/ptx/atomics.h"
#include "cuda/ptx/block.h"
#include "cuda/ptx/handlers.h"
#include "cuda/ptx/traffic.h"

namespace moe::ptx {
namespace {

constexpr uint32_t kMostBytes = 16;

uint64_t address_of(const Warp& w, const Instruction& i, uint32_t lane) {
  const uint64_t base = i.mode == 8 ? w.reg<uint64_t>(i.a)[lane] : w.reg<uint32_t>(i.a)[lane];
  return base + static_cast<uint64_t>(i.offset);
}

// The space a lane's address lies in, and the address inside of it.
Space resolve(Space named, uint64_t& address) {
  if (named != Space::kGeneric) return named;
  if (address >= kLocalWindow) return address -= kLocalWindow, Space::kLocal;
  if (address >= kSharedWindow) return address -= kSharedWindow, Space::kShared;
  return Space::kGlobal;
}

void check_alignment(uint64_t address, uint32_t bytes) {
  if (address % bytes != 0)
    throw Fault(FaultKind::kMisaligned, std::to_string(bytes) + " bytes at an address that is " +
                                            std::to_string(address % bytes) + " bytes past a multiple of it");
}

size_t local_offset(const Block& block, const Warp& w, uint32_t lane, uint64_t address, uint32_t bytes) {
  if (address + bytes > block.kernel->local_bytes)
    throw Fault(FaultKind::kOutOfBounds, "local memory at " + std::to_string(address) + " of " +
                                             std::to_string(block.kernel->local_bytes) + " bytes");
  return static_cast<size_t>(w.index * kLanes + lane) * block.kernel->local_bytes + address;
}

void count_traffic(Block& block, Space space, const uint64_t (&addresses)[kLanes], uint32_t lanes, uint32_t bytes) {
  if (space == Space::kGlobal) count_sectors(block.counters, addresses, lanes, bytes);
  if (space == Space::kShared) {
    uint32_t offsets[kLanes];
    for (uint32_t lane = 0; lane < kLanes; ++lane) offsets[lane] = static_cast<uint32_t>(addresses[lane]);
    uint32_t least = 0;
    block.counters.shared_phases += shared_phases(offsets, lanes, bytes, least);
    block.counters.least_shared_phases += least;
  }
}

// Which of `count` elements are known.
template <class Known>
uint32_t known_elements(uint32_t count, uint32_t bytes, Known known) {
  if (known(0u, count * bytes)) return ~0u;
  uint32_t mask = 0;
  for (uint32_t element = 0; element < count; ++element) mask |= uint32_t{known(element * bytes, bytes)} << element;
  return mask;
}

// Instruction: a base, bytes and count of the elements, e the destination's width, negated: sign-extend, and
// guard-independent `d` unused; `space` kConst with target 1 marks a read-only load.
void load(Warp& w, const Instruction& i) {
  Block& block = *w.block;
  const uint32_t total = uint32_t{i.bytes} * i.count;
  alignas(16) uint8_t raw[kLanes][kMostBytes];
  uint64_t addresses[kLanes];
  uint32_t known[8] = {};
  Space space = i.space;
  require_known(w, i.a, "an address");
  for_each_lane(w.executing, [&](uint32_t lane) {
    uint64_t address = address_of(w, i, lane);
    space = resolve(i.space, address);
    check_alignment(address, total);
    addresses[lane] = address;
    uint32_t elements = ~0u;
    if (space == Space::kGlobal || space == Space::kConst) {
      std::memcpy(raw[lane], block.memory->at(address, total, "a load"), total);
      block.memory->check_read(address, total, block.accessor(w, lane), i.target == 1);
      elements = known_elements(i.count, i.bytes,
                                [&](uint32_t from, uint32_t n) { return block.memory->defined(address + from, n); });
    } else if (space == Space::kShared) {
      block.shared.check_bounds(address, total, "a load");
      const auto offset = static_cast<uint32_t>(address);
      block.shared.read(w.index, static_cast<uint8_t>(lane), offset, total);
      std::memcpy(raw[lane], block.shared.at(offset), total);
      elements = known_elements(i.count, i.bytes,
                                [&](uint32_t from, uint32_t n) { return block.shared.defined(offset + from, n); });
    } else if (space == Space::kLocal) {
      const size_t offset = local_offset(block, w, lane, address, total);
      std::memcpy(raw[lane], block.local.data() + offset, total);
      elements = known_elements(i.count, i.bytes, [&](uint32_t from, uint32_t n) {
        return std::memchr(block.known_local.data() + offset + from, 0, n) == nullptr;
      });
    } else {
      if (address + total > block.launch->parameters.size())
        throw Fault(FaultKind::kOutOfBounds, "a parameter at " + std::to_string(address));
      std::memcpy(raw[lane], block.launch->parameters.data() + address, total);
    }
    for (uint32_t element = 0; element < i.count; ++element) known[element] |= (elements >> element & 1) << lane;
  });
  count_traffic(block, space, addresses, w.executing, total);
  for (uint32_t element = 0; element < i.count; ++element) {
    uint64_t values[kLanes] = {};
    for_each_lane(w.executing, [&](uint32_t lane) {
      std::memcpy(&values[lane], raw[lane] + element * i.bytes, i.bytes);
      if (i.negated) {
        const int shift = 64 - 8 * i.bytes;
        values[lane] = static_cast<uint64_t>(static_cast<int64_t>(values[lane] << shift) >> shift);
      }
    });
    const Unit unit = i.vector[element];
    if (i.e == 8) {
      w.store(unit, values, known[element]);
    } else if (i.e == 4) {
      uint32_t narrow[kLanes];
      std::copy(values, values + kLanes, narrow);
      w.store(unit, narrow, known[element]);
    } else {
      uint16_t narrow[kLanes];
      std::copy(values, values + kLanes, narrow);
      w.store(unit, narrow, known[element]);
    }
  }
}

// Instruction: as for `load`; e is the sources' width.
void store(Warp& w, const Instruction& i) {
  Block& block = *w.block;
  const uint32_t total = uint32_t{i.bytes} * i.count;
  uint64_t addresses[kLanes];
  Space space = i.space;
  require_known(w, i.a, "an address");
  for_each_lane(w.executing, [&](uint32_t lane) {
    uint64_t address = address_of(w, i, lane);
    space = resolve(i.space, address);
    check_alignment(address, total);
    addresses[lane] = address;
    uint8_t* to = nullptr;
    if (space == Space::kGlobal) {
      to = block.memory->at(address, total, "a store");
      block.memory->check_write(address, total, block.accessor(w, lane));
    } else if (space == Space::kShared) {
      block.shared.check_bounds(address, total, "a store");
      block.shared.write(w.index, static_cast<uint8_t>(lane), static_cast<uint32_t>(address), total);
      to = block.shared.at(static_cast<uint32_t>(address));
    } else {
      const size_t offset = local_offset(block, w, lane, address, total);
      to = block.local.data() + offset;
      addresses[lane] = offset;
    }
    for (uint32_t element = 0; element < i.count; ++element) {
      const Unit unit = i.vector[element];
      const auto* const value = reinterpret_cast<const uint8_t*>(w.reg<uint32_t>(unit)) + size_t{lane} * i.e;
      std::memcpy(to + element * i.bytes, value, i.bytes);
      const bool known = w.known[unit] >> lane & 1;
      const uint64_t at = addresses[lane] + element * i.bytes;
      if (space == Space::kGlobal)
        block.memory->define(at, i.bytes, known);
      else if (space == Space::kShared)
        block.shared.define(static_cast<uint32_t>(at), i.bytes, known);
      else
        std::memset(block.known_local.data() + at, known, i.bytes);
    }
  });
  count_traffic(block, space, addresses, w.executing, total);
}

// Modifiers that say how to cache or order an access and change nothing here.
void take_hints(Decoder& d) {
  for (const std::string_view hint : {"weak",
                                      "volatile",
                                      "relaxed",
                                      "acquire",
                                      "release",
                                      "cta",
                                      "gpu",
                                      "sys",
                                      "ca",
                                      "cg",
                                      "cs",
                                      "lu",
                                      "cv",
                                      "wb",
                                      "wt",
                                      "L1::no_allocate",
                                      "L1::evict_normal",
                                      "L1::evict_unchanged",
                                      "L1::evict_first",
                                      "L1::evict_last",
                                      "L2::64B",
                                      "L2::128B",
                                      "L2::256B",
                                      "L2::evict_first",
                                      "L2::evict_last",
                                      "L2::evict_normal"})
    d.take(hint);
}

Space take_space(Decoder& d) {
  const std::string word = d.take_one_of({"global", "shared", "shared::cta", "local", "param", "const"}, true);
  return word.empty()       ? Space::kGeneric
         : word == "global" ? Space::kGlobal
         : word == "local"  ? Space::kLocal
         : word == "param"  ? Space::kParam
         : word == "const"  ? Space::kConst
                            : Space::kShared;
}

void decode_access(Decoder& d, bool loads) {
  Instruction& out = d.out();
  take_hints(d);
  out.space = take_space(d);
  const bool hint = d.take("L2::cache_hint");
  out.target = loads && d.take("nc") ? 1 : 0;
  const std::string vector = d.take_one_of({"v2", "v4", "v8"}, true);
  const Type type = d.take_type();
  out.bytes = static_cast<uint8_t>(bytes_of(type));
  out.negated = is_signed(type);
  const std::vector<std::string> elements = d.vector(loads ? 0 : 1);
  out.count = static_cast<uint8_t>(elements.size());
  const size_t expected = vector.empty() ? 1 : static_cast<size_t>(vector[1] - '0');
  if (elements.size() != expected || out.bytes * elements.size() > kMostBytes) d.refuse("a vector of another size");
  const int width = std::max({d.register_bytes(elements[0]), bytes_of(type), 2});
  out.e = static_cast<Unit>(width);
  for (size_t i = 0; i < elements.size(); ++i)
    out.vector[i] = loads ? d.destination(elements[i], width) : d.source(elements[i], width);
  const bool small = out.space == Space::kShared || out.space == Space::kParam || out.space == Space::kLocal;
  d.memory(loads ? 1 : 0, out.a, out.offset, small ? 4 : 8);
  if (hint) d.source(2, 8);
  out.run = loads ? &load : &store;
}

}  // namespace

const DecodeTable& memory_decoders() {
  static const DecodeTable table = {
      {"ld", [](Decoder& d) { decode_access(d, true); }},
      {"ldu", [](Decoder& d) { decode_access(d, true); }},
      {"st", [](Decoder& d) { decode_access(d, false); }},
      {"atom", [](Decoder& d) { decode_atomic(d, true); }},
      {"red", [](Decoder& d) { decode_atomic(d, false); }},
      {"cp", &decode_copy},
      {"createpolicy", &decode_policy},
      {"prefetch", &decode_prefetch},
  };
  return table;
}

}  // namespace moe::ptx
