#include "cpu/device.h"

#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/host/usable_cpus.h"
#include "cpu/grain.h"
#include "cpu/kernels.h"
#include "cpu/weight_formats.h"

namespace moe::cpu {
namespace {

std::string why_unavailable() {
  try {
    choose_kernels();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

std::vector<DeviceInfo> devices() { return {device_info()}; }

std::unique_ptr<Device> open(int index) {
  if (index != 0)
    throw Error(ErrorCode::kDeviceUnavailable,
                "Expected the index of a cpu device to be 0, got " + std::to_string(index));
  return std::make_unique<CpuDevice>(choose_kernels(), usable_cpus());
}

std::byte* at(Matrix matrix, int64_t row) { return static_cast<std::byte*>(matrix.part(row, 1).data); }

}  // namespace

const Capabilities& CpuDevice::can() {
  static const Capabilities all{
      .weights = held_weights(), .max_experts = 0, .host_memory = true, .packed_weights = true};
  return all;
}

void* CpuDevice::allocate(size_t bytes) { return aligned_memory.allocate(bytes); }

void CpuDevice::deallocate(void* memory) noexcept { aligned_memory.deallocate(memory); }

void CpuDevice::upload(void* device, const void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}

void CpuDevice::download(void* host, const void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}

void CpuDevice::gather(Matrix in, std::span<const int32_t> index, Matrix out) {
  const size_t bytes = out.part(0, 1).bytes();
  pool_.team().parallel_for(out.rows, grain_for(out.cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      if (index[row] >= 0) std::memcpy(at(out, row), at(in, index[row]), bytes);
  });
}

void CpuDevice::place_columns(Matrix part, int64_t first_column, Matrix out) {
  const size_t bytes = part.part(0, 1).bytes(), before = first_column * size_of(out.dtype);
  pool_.team().parallel_for(part.rows, grain_for(part.cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) std::memcpy(at(out, row) + before, at(part, row), bytes);
  });
}

const Plugin& plugin() {
  static const Plugin cpu{
      .build_id = kBuildId, .name = "cpu", .why_unavailable = why_unavailable, .devices = devices, .open = open};
  return cpu;
}

}  // namespace moe::cpu
