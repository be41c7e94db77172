#include "ascend/transfer.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/error.h"

namespace moe::ascend {
namespace {

constexpr size_t kPiece = size_t{1} << 20;  // a piece travels while the next one is copied
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

void HostLink::upload(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  auto* const staged = static_cast<std::byte*>(pool_.take(bytes));
  for (size_t at = 0; at < bytes; at += kPiece) {
    const size_t count = std::min(kPiece, bytes - at);
    std::memcpy(staged + at, static_cast<const std::byte*>(host) + at, count);
    device_.copy_to_device(static_cast<std::byte*>(device) + at, staged + at, count);
  }
}

void HostLink::download(void* host, const void* device, size_t bytes) {
  if (bytes == 0) return;
  try {
    void* const pinned = pool_.take(bytes);
    device_.copy_to_host(pinned, device, bytes);
    downloads_.push_back({host, pinned, bytes});
  } catch (const Error&) {
    downloads_.clear();  // the caller gives up, and its memory may go
    throw;
  }
}

const void* HostLink::read_bytes(const void* device, size_t bytes) {
  void* const pinned = pool_.take(bytes);
  device_.copy_to_host(pinned, device, bytes);
  device_.wait();
  return pinned;
}

void HostLink::finish() {
  const std::vector<Download> delivered = std::exchange(downloads_, {});
  device_.wait();
  for (const Download& download : delivered) std::memcpy(download.host, download.pinned, download.bytes);
  pool_.reset();
}

}  // namespace moe::ascend
