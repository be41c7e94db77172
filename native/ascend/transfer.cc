#include "ascend/transfer.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"

namespace moe::ascend {
namespace {

constexpr size_t kPiece = size_t{1} << 20;  // a piece travels while the next one is copied
constexpr size_t kRun = 8;
constexpr int32_t kMagnitude = 0x7fffffff;

// Copies and looks at the values on the way, as float32: bits of magnitudes compare like the magnitudes.
void copy_and_look(const std::byte* from, std::byte* to, size_t bytes, int32_t& largest, bool& zeros) {
  constexpr size_t kRunBytes = kRun * sizeof(float);
  size_t at = 0;
  for (; at + kRunBytes <= bytes; at += kRunBytes) {
    int32_t values[kRun];
    std::memcpy(values, from + at, kRunBytes);
    std::memcpy(to + at, values, kRunBytes);
    int32_t run = 0;
    for (const int32_t value : values) run = std::max(run, value & kMagnitude);
    largest = std::max(largest, run);
    zeros |= run == 0;
  }
  std::memcpy(to + at, from + at, bytes - at);
  for (; at + sizeof(float) <= bytes; at += sizeof(float)) {
    int32_t value;
    std::memcpy(&value, from + at, sizeof value);
    largest = std::max(largest, value & kMagnitude);
    zeros |= (value & kMagnitude) == 0;
  }
}

}  // namespace

void HostLink::upload(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  auto* const staged = static_cast<std::byte*>(pool_.take(bytes));
  int32_t largest = 0;
  bool zeros = false;
  for (size_t at = 0; at < bytes; at += kPiece) {
    const size_t count = std::min(kPiece, bytes - at);
    copy_and_look(static_cast<const std::byte*>(host) + at, staged + at, count, largest, zeros);
    device_.copy_to_device(static_cast<std::byte*>(device) + at, staged + at, count);
  }
  batch_ = {reinterpret_cast<const float*>(staged), std::bit_cast<float>(largest), zeros};
  batch_device_ = device;
  batch_bytes_ = bytes;
}

void HostLink::send_bytes(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  void* const staged = pool_.take(bytes);
  std::memcpy(staged, host, bytes);
  device_.copy_to_device(device, staged, bytes);
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

const UploadedBatch* HostLink::uploaded(Matrix hidden) const {
  const bool same = hidden.data == batch_device_ && hidden.rows * hidden.cols * sizeof(float) == batch_bytes_;
  return same && batch_bytes_ > 0 ? &batch_ : nullptr;
}

void HostLink::finish() {
  const std::vector<Download> delivered = std::exchange(downloads_, {});
  device_.wait();
  for (const Download& download : delivered) std::memcpy(download.host, download.pinned, download.bytes);
  batch_bytes_ = 0;
  pool_.reset();
}

}  // namespace moe::ascend
