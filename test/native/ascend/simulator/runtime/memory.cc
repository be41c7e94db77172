#include "memory.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "handles.h"
#include "profile.h"

namespace ascend_sim {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kGap = 4096;  // between blocks: a range that runs out of its block never ends in another

struct Memory {
  std::mutex mutex;
  std::map<uintptr_t, std::shared_ptr<Block>> blocks;
  std::map<uintptr_t, size_t> pinned;
  uintptr_t first = UINTPTR_MAX;
  uintptr_t last = 0;  // every device address ever given out lies in [first, last)
};

Memory& memory() {
  static Memory& memory = *new Memory;
  return memory;
}

template <class Map>
auto at_or_before(Map& map, uintptr_t address) {
  auto found = map.upper_bound(address);
  return found == map.begin() ? map.end() : --found;
}

bool was_device(const Memory& all, uintptr_t address) { return address >= all.first && address < all.last; }

}  // namespace

void Block::note(size_t offset, const std::string& text) {
  const std::lock_guard lock(mutex);
  notes[offset] = text;
}

std::string Block::note_at(size_t offset) {
  const std::lock_guard lock(mutex);
  const auto found = notes.find(offset);
  return found == notes.end() ? "" : found->second;
}

void Block::written(size_t offset, size_t size) {
  const std::lock_guard lock(mutex);
  notes.erase(notes.lower_bound(offset), notes.lower_bound(offset + size));
}

std::string hex(const void* address) {
  char text[32];
  std::snprintf(text, sizeof text, "%p", address);
  return text;
}

void poison(std::byte* bytes, size_t size) {
  // In words, which compilers make vectors of: every allocation comes through here.
  constexpr std::byte kPattern[] = {std::byte{0xA5}, std::byte{0xFF}};
  size_t i = 0;
  if (size > 0 && (reinterpret_cast<uintptr_t>(bytes) & 1)) bytes[i++] = kPattern[1];
  for (; i + 1 < size; i += 2) std::memcpy(bytes + i, kPattern, 2);
  if (i < size) bytes[i] = kPattern[0];
}

void* allocate_device(int device, size_t size) {
  if (used_memory(device) + size > device_memory())
    throw Failure{kBadAlloc, "device " + std::to_string(device) + " has no " + std::to_string(size) + " bytes left"};
  auto block = std::make_shared<Block>();
  block->address = reserve_addresses(size + kGap, kAlignment);
  block->size = size;
  block->device = device;
  block->bytes.reset(new std::byte[size]);
  poison(block->bytes.get(), size);
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  all.first = std::min(all.first, block->address);
  all.last = std::max(all.last, block->address + size + kGap);
  all.blocks[block->address] = block;
  return reinterpret_cast<void*>(block->address);
}

void free_device(void* address) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  if (all.blocks.erase(reinterpret_cast<uintptr_t>(address)) == 1) return;
  if (was_device(all, reinterpret_cast<uintptr_t>(address)))
    throw Fault{kInvalidParam, hex(address) + " is no live allocation: it was freed before, or is not its first byte"};
  throw Fault{kInvalidParam, hex(address) + " is not device memory"};
}

void* allocate_pinned(size_t size) {
  void* const bytes = std::aligned_alloc(kAlignment, (size + kAlignment - 1) / kAlignment * kAlignment);
  if (!bytes) throw Failure{kBadAlloc, "the host has no memory left"};
  poison(static_cast<std::byte*>(bytes), size);
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  all.pinned[reinterpret_cast<uintptr_t>(bytes)] = size;
  return bytes;
}

void free_pinned(void* address) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  require(all.pinned.erase(reinterpret_cast<uintptr_t>(address)) == 1, kInvalidParam,
          hex(address) + " is no live pinned allocation: it was freed before, or never made");
  std::free(address);
}

Place place_of(const void* address) {
  Memory& all = memory();
  const auto value = reinterpret_cast<uintptr_t>(address);
  const std::lock_guard lock(all.mutex);
  if (was_device(all, value)) return Place::kDevice;
  const auto found = at_or_before(all.pinned, value);
  return found != all.pinned.end() && value < found->first + found->second ? Place::kPinned : Place::kPageable;
}

size_t used_memory(int device) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  size_t used = 0;
  for (const auto& [address, block] : all.blocks)
    if (block->device == device) used += block->size;
  return used;
}

void free_all(int device) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.blocks, [device](const auto& entry) { return entry.second->device == device; });
}

std::shared_ptr<Block> block_of(const void* address, size_t size, const std::string& what) {
  Memory& all = memory();
  const auto value = reinterpret_cast<uintptr_t>(address);
  const std::lock_guard lock(all.mutex);
  const auto found = at_or_before(all.blocks, value);
  if (found == all.blocks.end() || value >= found->first + found->second->size) {
    const char* const why = was_device(all, value)
                                ? " is in no live device allocation: it was freed, or lies past the end of one"
                                : " is host memory";
    throw Fault{kInvalidParam, what + " at " + hex(address) + why};
  }
  const size_t left = found->first + found->second->size - value;
  require(size <= left, kInvalidParam,
          what + " takes " + std::to_string(size) + " bytes, but its allocation ends after " + std::to_string(left));
  return found->second;
}

Span resolve(const void* address, size_t size, const std::string& what) {
  const Place place = place_of(address);
  if (place == Place::kDevice) {
    auto block = block_of(address, size, what);
    std::byte* const bytes = block->bytes.get() + (reinterpret_cast<uintptr_t>(address) - block->address);
    return {std::move(block), bytes};
  }
  if (place == Place::kPinned) {
    Memory& all = memory();
    const auto value = reinterpret_cast<uintptr_t>(address);
    const std::lock_guard lock(all.mutex);
    const auto found = at_or_before(all.pinned, value);
    require(found != all.pinned.end() && value + size <= found->first + found->second, kInvalidParam,
            what + " runs past the end of its pinned allocation");
  }
  return {nullptr, static_cast<std::byte*>(const_cast<void*>(address))};
}

std::string leaked_memory() {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  size_t device_bytes = 0;
  size_t pinned_bytes = 0;
  for (const auto& [address, block] : all.blocks) device_bytes += block->size;
  for (const auto& [address, size] : all.pinned) pinned_bytes += size;
  std::string text;
  if (!all.blocks.empty())
    text += "leak: " + std::to_string(all.blocks.size()) + " device allocations, " + std::to_string(device_bytes) +
            " bytes, never freed\n";
  if (!all.pinned.empty())
    text += "leak: " + std::to_string(all.pinned.size()) + " pinned host allocations, " + std::to_string(pinned_bytes) +
            " bytes, never freed\n";
  return text;
}

}  // namespace ascend_sim
