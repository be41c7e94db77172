#include "cuda/ptx/device_memory.h"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <sstream>

namespace moe::ptx {
namespace {

void* reserve(size_t bytes, int protection) {
  void* const memory = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return memory;
}

// launch, block, barriers and thread of the last write in one word, so that it can be read and written atomically.
constexpr int kThreadBits = 10, kBarrierBits = 12, kBlockBits = 21, kLaunchBits = 21;

uint64_t packed(const Accessor& who) {
  const auto field = [](uint64_t value, int bits) { return value & ((1ull << bits) - 1); };
  return ((field(who.launch, kLaunchBits) << kBlockBits | field(who.block, kBlockBits)) << kBarrierBits |
          field(who.barriers, kBarrierBits))
             << kThreadBits |
         field(who.thread, kThreadBits);
}
bool same_launch(uint64_t a, uint64_t b) {
  return a >> (kThreadBits + kBarrierBits + kBlockBits) == b >> (kThreadBits + kBarrierBits + kBlockBits);
}
bool same_block(uint64_t a, uint64_t b) {
  return a >> (kThreadBits + kBarrierBits) == b >> (kThreadBits + kBarrierBits);
}
bool same_barriers(uint64_t a, uint64_t b) { return a >> kThreadBits == b >> kThreadBits; }
bool same_warp(uint64_t a, uint64_t b) {
  return same_block(a, b) && (a & ((1u << kThreadBits) - 1)) / 32 == (b & ((1u << kThreadBits) - 1)) / 32;
}
bool unordered(uint64_t earlier, uint64_t now) {
  if (!same_launch(earlier, now) || same_warp(earlier, now)) return false;
  return !same_block(earlier, now) || same_barriers(earlier, now);
}

[[noreturn]] void race(const char* what, uint64_t address, uint64_t earlier, uint64_t now) {
  const auto thread = [](uint64_t who) { return who & ((1u << kThreadBits) - 1); };
  const auto block = [](uint64_t who) { return who >> (kThreadBits + kBarrierBits) & ((1u << kBlockBits) - 1); };
  std::ostringstream text;
  text << what << " at 0x" << std::hex << address << std::dec << " what thread " << thread(earlier) << " of block "
       << block(earlier) << " wrote in the same launch, by thread " << thread(now) << " of block " << block(now);
  throw Fault(FaultKind::kGlobalRace, text.str());
}

}  // namespace

DeviceMemory::DeviceMemory(size_t capacity_bytes) : capacity_bytes_(capacity_bytes) {
  constexpr int kUse = PROT_READ | PROT_WRITE;
  base_ = reinterpret_cast<uint64_t>(reserve(kRangeBytes, PROT_NONE));
  bytes_ = static_cast<uint8_t*>(reserve(kRangeBytes, kUse));
  defined_ = static_cast<uint8_t*>(reserve(kRangeBytes, kUse));
  writers_ = static_cast<std::atomic<uint64_t>*>(reserve(kRangeBytes * 2, kUse));
  allocation_of_ = static_cast<uint32_t*>(reserve(kRangeBytes / kGranule * sizeof(uint32_t), kUse));
  allocations_ = static_cast<Allocation*>(reserve(kMostAllocations * sizeof(Allocation), kUse));
}

DeviceMemory::~DeviceMemory() {
  munmap(reinterpret_cast<void*>(base_), kRangeBytes);
  munmap(bytes_, kRangeBytes);
  munmap(defined_, kRangeBytes);
  munmap(static_cast<void*>(writers_), kRangeBytes * 2);
  munmap(allocation_of_, kRangeBytes / kGranule * sizeof(uint32_t));
  munmap(allocations_, kMostAllocations * sizeof(Allocation));
}

uint64_t DeviceMemory::allocate(size_t bytes) {
  const std::lock_guard lock(mutex_);
  const uint64_t span = (bytes + kGranule - 1) / kGranule * kGranule + kGranule;  // a granule of nothing behind it
  if (bytes > capacity_bytes_ - used_bytes_ || next_ + span > kRangeBytes || count_ == kMostAllocations) return 0;
  const uint64_t offset = next_;
  allocations_[count_] = {offset, bytes, true};
  for (uint64_t at = offset; at < offset + bytes; at += kGranule) allocation_of_[at / kGranule] = count_;
  ++count_;
  next_ += span;
  used_bytes_ += bytes;
  ++live_;
  std::memset(bytes_ + offset, 0xff, bytes);  // NaN in every float type
  return base_ + offset;
}

bool DeviceMemory::release(uint64_t address) {
  const std::lock_guard lock(mutex_);
  if (!contains(address)) return false;
  Allocation& allocation = allocations_[allocation_of_[(address - base_) / kGranule]];
  if (!allocation.live || base_ + allocation.offset != address) return false;
  allocation.live = false;
  used_bytes_ -= allocation.bytes;
  --live_;
  constexpr uint64_t kPage = 4096;
  const uint64_t begin = (allocation.offset + kPage - 1) / kPage * kPage;
  const uint64_t end = (allocation.offset + allocation.bytes) / kPage * kPage;
  if (begin < end) {
    madvise(bytes_ + begin, end - begin, MADV_DONTNEED);
    madvise(defined_ + begin, end - begin, MADV_DONTNEED);
    madvise(reinterpret_cast<uint8_t*>(writers_) + begin * 2, (end - begin) * 2, MADV_DONTNEED);
  }
  return true;
}

void DeviceMemory::release_since(uint32_t mark) {
  for (uint32_t i = mark; i < count_; ++i)
    if (allocations_[i].live) release(base_ + allocations_[i].offset);
}

void DeviceMemory::refuse(uint64_t address, size_t bytes, const char* access) const {
  std::ostringstream text;
  text << access << " of " << bytes << " bytes at 0x" << std::hex << address << std::dec;
  if (!contains(address)) {
    text << ", which is no device address";
  } else {
    // The allocation that begins last before the address tells the reader what was overrun.
    uint64_t granule = (address - base_) / kGranule;
    while (granule > 0 && allocation_of_[granule] == 0) --granule;
    const Allocation& near = allocations_[allocation_of_[granule]];
    text << ", " << address - base_ - near.offset << " bytes into " << (near.live ? "" : "freed ") << "memory of "
         << near.bytes << " bytes";
  }
  throw Fault(FaultKind::kOutOfBounds, text.str());
}

void DeviceMemory::write(uint64_t address, const void* host, size_t bytes) {
  if (bytes == 0) return;
  std::memcpy(at(address, bytes, "copy to the device"), host, bytes);
  define(address, bytes);
}

void DeviceMemory::read(uint64_t address, void* host, size_t bytes) const {
  if (bytes == 0) return;
  std::memcpy(host, at(address, bytes, "copy from the device"), bytes);
  const uint8_t* const known = defined_ + (address - base_);
  if (const void* hole = std::memchr(known, 0, bytes))
    throw Fault(FaultKind::kUndefined, "a copy of " + std::to_string(bytes) + " bytes from the device: byte " +
                                           std::to_string(static_cast<const uint8_t*>(hole) - known) +
                                           " has a value nobody wrote");
}

void DeviceMemory::set(uint64_t address, int value, size_t bytes) {
  if (bytes == 0) return;
  std::memset(at(address, bytes, "memset"), value, bytes);
  define(address, bytes);
}

void DeviceMemory::copy(uint64_t to, uint64_t from, size_t bytes) {
  if (bytes == 0) return;
  std::memmove(at(to, bytes, "copy to the device"), at(from, bytes, "copy from the device"), bytes);
  std::memmove(defined_ + (to - base_), defined_ + (from - base_), bytes);
}

bool DeviceMemory::defined(uint64_t address, size_t bytes) const {
  return std::memchr(defined_ + (address - base_), 0, bytes) == nullptr;
}

void DeviceMemory::define(uint64_t address, size_t bytes, bool value) {
  std::memset(defined_ + (address - base_), value ? 1 : 0, bytes);
}

void DeviceMemory::check_read(uint64_t address, size_t bytes, const Accessor& who, bool read_only) const {
  const uint64_t now = packed(who);
  for (uint64_t word = address & ~3ull; word < address + bytes; word += 4) {
    const uint64_t earlier = writer_of(word).load(std::memory_order_relaxed);
    if (earlier == 0 || !same_launch(earlier, now)) continue;
    if (read_only) race("a read-only load reads", word, earlier, now);
    if (unordered(earlier, now)) race("a load reads", word, earlier, now);
  }
}

void DeviceMemory::check_write(uint64_t address, size_t bytes, const Accessor& who) {
  const uint64_t now = packed(who);
  // Neighbours of less than a word may have different writers.
  const bool whole = bytes >= 4;
  for (uint64_t word = address & ~3ull; word < address + bytes; word += 4) {
    const uint64_t earlier = writer_of(word).exchange(now, std::memory_order_relaxed);
    if (whole && earlier != 0 && unordered(earlier, now)) race("a store replaces", word, earlier, now);
  }
}

}  // namespace moe::ptx
