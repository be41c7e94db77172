#include "cuda/device.h"

#include "core/error.h"
#include "cuda/collective.h"
#include "cuda/weight_formats.h"

namespace moe::cuda {
namespace {

constexpr unsigned kMoveThreads = 256;

MoveTask move_of(Matrix from, const int32_t* index, float* to, int64_t rows, int64_t to_stride) {
  return {from.floats(), index, to, rows, from.cols, from.cols, to_stride};
}

}  // namespace

CudaDevice::~CudaDevice() { stream_.queue().clear(); }  // nobody waits for it any more

const Capabilities& CudaDevice::can() {
  static const Capabilities all{
      .weights = held_weights(), .max_experts = kMaxExperts, .host_memory = false, .packed_weights = false};
  return all;
}

void* CudaDevice::allocate(size_t bytes) {
  return stream_.guarded([&] { return memory_.allocate(bytes); });
}

void CudaDevice::deallocate(void* memory) noexcept {
  try {
    stream_.guarded([&] { start(); });  // work that uses the memory may be waiting
  } catch (const Error&) {
    // Every later call says what is wrong with the device.
  }
  free_device(memory);
}

void CudaDevice::upload(void* device, const void* host, size_t bytes) {
  stream_.guarded([&] { stream_.upload(device, host, bytes); });
}

void CudaDevice::download(void* host, const void* device, size_t bytes) {
  stream_.guarded([&] { stream_.download(host, device, bytes); });
}

void CudaDevice::gather(Matrix in, std::span<const int32_t> index, Matrix out) {
  if (index.empty()) return;
  stream_.guarded([&] {
    int32_t* const on_device = index_.reserve<int32_t>(index.size());
    stream_.upload(on_device, index.data(), index.size_bytes());
    stream_.queue().add(kernels::moe_move_rows, {static_cast<unsigned>(out.rows), kMoveThreads},
                        move_of(in, on_device, out.floats(), out.rows, out.cols));
  });
}

void CudaDevice::place_columns(Matrix part, int64_t first_column, Matrix out) {
  if (part.rows == 0 || part.cols == 0) return;
  stream_.guarded([&] {
    stream_.queue().add(kernels::moe_move_rows, {static_cast<unsigned>(part.rows), kMoveThreads},
                        move_of(part, nullptr, out.floats() + first_column, part.rows, out.cols));
  });
}

std::unique_ptr<Collective> CudaDevice::connect(Collective& host) {
  return stream_.guarded([&] {
    return NcclCollective::connect(
        stream_.handle(), [this] { start(); }, host);
  });
}

void CudaDevice::synchronize() {
  stream_.guarded([&] { stream_.finish(); });
}

}  // namespace moe::cuda
