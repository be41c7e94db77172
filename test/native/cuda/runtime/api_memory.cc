// Memory of the device and pinned memory of the host, and copies.
#include <sys/mman.h>

#include <cstring>

#include "cuda/runtime/api.h"

using namespace moe::emulator;

namespace {

uint64_t address_of(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

// From pinned memory the device reads when the copy's turn comes, from other memory before the call returns.
cudaError_t upload(Device& device, Stream& stream, void* to, const void* from, size_t bytes) {
  if (device.is_pinned(from, bytes)) {
    stream.add(guarded([=](Device& d) {
      if (!d.is_pinned(from, bytes))
        return d.lose(cudaErrorIllegalAddress, "a copy reads pinned memory that was freed");
      d.memory().write(address_of(to), from, bytes);
    }));
    return cudaSuccess;
  }
  std::vector<uint8_t> staged(static_cast<const uint8_t*>(from), static_cast<const uint8_t*>(from) + bytes);
  stream.add(guarded([to, staged](Device& d) { d.memory().write(address_of(to), staged.data(), staged.size()); }));
  return cudaSuccess;
}

// Into pinned memory the bytes come when the copy's turn comes; until then they are nobody's. Into other memory the
// call waits.
cudaError_t download(Device& device, Stream& stream, void* to, const void* from, size_t bytes) {
  const bool pinned = device.is_pinned(to, bytes);
  if (pinned && !stream.captured) std::memset(to, 0xff, bytes);
  stream.add(guarded([=](Device& d) {
    if (pinned && !d.is_pinned(to, bytes))
      return d.lose(cudaErrorIllegalAddress, "a copy writes pinned memory that was freed");
    d.memory().read(address_of(from), to, bytes);
  }));
  if (pinned) return cudaSuccess;
  if (stream.captured)
    return device.misuse(cudaErrorStreamCaptureUnsupported, "a copy to pageable memory while a stream is captured");
  stream.wait();
  return device.lost();
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  return call_outside_capture("cudaMalloc", [&](Device& device) {
    *memory = nullptr;
    if (bytes == 0) return cudaSuccess;
    *memory = reinterpret_cast<void*>(device.memory().allocate(bytes));
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
  });
}

cudaError_t cudaFree(void* memory) {
  return call_outside_capture("cudaFree", [&](Device& device) {
    if (!memory) return cudaSuccess;
    device.wait_for_streams();
    if (device.memory().release(address_of(memory))) return device.lost();
    return device.misuse(cudaErrorInvalidValue, "cudaFree of what is no live allocation");
  });
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned int) {
  return call_outside_capture("cudaHostAlloc", [&](Device& device) {
    void* const pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return cudaErrorMemoryAllocation;
    device.add_pinned(pages, bytes);
    *memory = pages;
    return cudaSuccess;
  });
}

cudaError_t cudaMallocHost(void** memory, size_t bytes) { return cudaHostAlloc(memory, bytes, 0); }

// The pages stay mapped: a copy that comes too late is reported, not a crash.
cudaError_t cudaFreeHost(void* memory) {
  return call_outside_capture("cudaFreeHost", [&](Device& device) {
    if (!memory) return cudaSuccess;
    device.wait_for_streams();
    if (device.remove_pinned(memory)) return cudaSuccess;
    return device.misuse(cudaErrorInvalidValue, "cudaFreeHost of what is no live allocation");
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t handle) {
  return call("cudaMemcpyAsync", [&](Device& device) {
    if (!handle) return device.misuse(cudaErrorInvalidResourceHandle, "cudaMemcpyAsync without a stream");
    if (bytes == 0) return cudaSuccess;
    Stream& stream = *as_stream(handle);
    const bool to_device = device.memory().contains(address_of(to));
    const bool from_device = device.memory().contains(address_of(from));
    const auto expected =
        to_device ? from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost;
    if ((!to_device && !from_device) || (kind != cudaMemcpyDefault && kind != expected))
      return device.misuse(cudaErrorInvalidValue, "cudaMemcpyAsync of another kind than its addresses");
    if (to_device && from_device) {
      stream.add(guarded([=](Device& d) { d.memory().copy(address_of(to), address_of(from), bytes); }));
      return cudaSuccess;
    }
    return to_device ? upload(device, stream, to, from, bytes) : download(device, stream, to, from, bytes);
  });
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t handle) {
  return call("cudaMemsetAsync", [&](Device& device) {
    if (!handle) return device.misuse(cudaErrorInvalidResourceHandle, "cudaMemsetAsync without a stream");
    as_stream(handle)->add(guarded([=](Device& d) { d.memory().set(address_of(memory), value, bytes); }));
    return cudaSuccess;
  });
}

}  // extern "C"
