#include "ascend/transfer.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace moe::ascend {
namespace {

constexpr size_t kPiece = size_t{1} << 20;  // a piece travels while the next one is copied

}  // namespace

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
