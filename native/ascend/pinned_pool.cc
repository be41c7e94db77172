#include "ascend/pinned_pool.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace moe::ascend {
namespace {

constexpr size_t kAlignment = 64, kSmallestBlock = size_t{1} << 16;

}  // namespace

void* PinnedPool::take(size_t bytes) {
  bytes = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  if (blocks_.empty() || blocks_.back().bytes - blocks_.back().used < bytes) {
    const size_t size = std::max({bytes, next_bytes_, kSmallestBlock});
    void* memory = nullptr;
    if (device_.cann().runtime.malloc_host(&memory, size) != cann::kSuccess)
      throw Error(ErrorCode::kOutOfMemory, "The host has no " + std::to_string(size) + " bytes of pinned memory left" +
                                               device_.cann().recent_error());
    blocks_.push_back({static_cast<std::byte*>(memory), size, 0});
  }
  Block& block = blocks_.back();
  void* const given = block.memory + block.used;
  block.used += bytes;
  return given;
}

void PinnedPool::reset() {
  if (blocks_.size() == 1) {
    blocks_.front().used = 0;
    return;
  }
  size_t total = 0;
  for (const Block& block : blocks_) total += block.bytes;
  release();
  next_bytes_ = total;
}

void PinnedPool::release() noexcept {
  if (blocks_.empty()) return;
  device_.abandon();
  for (const Block& block : blocks_) device_.cann().runtime.free_host(block.memory);
  blocks_.clear();
}

}  // namespace moe::ascend
