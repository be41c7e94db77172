// The device's global memory: one range of addresses the host cannot touch, with bounds, definedness and
// who-wrote-it-in-this-launch for every byte.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "cuda/ptx/fault.h"

namespace moe::ptx {

// Which thread touches memory: writes of one launch by different threads need an order.
struct Accessor {
  uint32_t launch;  // 1, 2, ...
  uint32_t block;
  uint32_t barriers;  // that the block has passed
  uint32_t thread;    // in the block
};

class DeviceMemory {
 public:
  explicit DeviceMemory(size_t capacity_bytes);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // 0 when the capacity is used up. Addresses are multiples of 512 and are never given out twice.
  uint64_t allocate(size_t bytes);
  // False when `address` does not begin a live allocation.
  bool release(uint64_t address);
  // Everything allocated since `mark` said so.
  void release_since(uint32_t mark);
  uint32_t mark() const { return count_; }
  // Whether the address lies in the device's range, allocated or not.
  bool contains(uint64_t address) const { return address - base_ < kRangeBytes; }
  size_t capacity_bytes() const { return capacity_bytes_; }
  size_t used_bytes() const { return used_bytes_; }
  size_t live_allocations() const { return live_; }

  // The host's copies. They throw Fault for a range outside of an allocation, `read` also for bytes nobody wrote.
  void write(uint64_t address, const void* host, size_t bytes);
  void read(uint64_t address, void* host, size_t bytes) const;
  void set(uint64_t address, int value, size_t bytes);
  void copy(uint64_t to, uint64_t from, size_t bytes);

  // Where the host finds `bytes` bytes at a device address. Throws Fault where they are not all in one allocation.
  uint8_t* at(uint64_t address, size_t bytes, const char* access) const {
    const uint64_t offset = address - base_;
    if (offset < kRangeBytes) {
      const Allocation& allocation = allocations_[allocation_of_[offset / kGranule]];
      if (allocation.live && offset >= allocation.offset && offset + bytes <= allocation.offset + allocation.bytes)
        return bytes_ + offset;
    }
    refuse(address, bytes, access);
  }

  // Of bytes that `at` has allowed.
  bool defined(uint64_t address, size_t bytes) const;
  void define(uint64_t address, size_t bytes, bool value = true);

  // Throws Fault where a thread reads or overwrites a word another thread wrote in this launch, unless both are of one
  // warp or a barrier of their block lies between. A read-only load must see nothing that was written in its launch.
  void check_read(uint64_t address, size_t bytes, const Accessor& who, bool read_only) const;
  void check_write(uint64_t address, size_t bytes, const Accessor& who);

 private:
  struct Allocation {
    uint64_t offset, bytes;
    bool live;
  };
  static constexpr uint64_t kRangeBytes = 1ull << 34, kGranule = 512, kMostAllocations = 1u << 20;

  [[noreturn]] void refuse(uint64_t address, size_t bytes, const char* access) const;
  std::atomic<uint64_t>& writer_of(uint64_t address) const { return writers_[(address - base_) / 4]; }

  const size_t capacity_bytes_;
  // Reserved address space; only the pages in use take memory.
  uint64_t base_;                   // no access: the addresses kernels see
  uint8_t* bytes_;                  // what they stand for
  uint8_t* defined_;                // one per byte
  std::atomic<uint64_t>* writers_;  // one per word
  uint32_t* allocation_of_;         // one per granule; 0 is an allocation that never lives
  Allocation* allocations_;
  mutable std::mutex mutex_;
  uint64_t next_ = kGranule;
  uint32_t count_ = 1;
  std::atomic<size_t> used_bytes_{0}, live_{0};
};

}  // namespace moe::ptx
