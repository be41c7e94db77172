#include "ascend/device.h"

#include <vector>

#include "ascend/collective.h"

namespace moe::ascend {

Capabilities capabilities_of(const SocProfile& profile) {
  return {.weights = held_weights(profile), .max_experts = 0, .host_memory = false, .packed_weights = false};
}

AscendDevice::AscendDevice(int index)
    : npu_(cann_library(), index), queue_(npu_), link_(npu_), stages_(npu_, queue_, link_), index_(npu_) {}

void* AscendDevice::allocate(size_t bytes) {
  npu_.bind();
  return npu_.allocate(bytes);
}

void AscendDevice::deallocate(void* memory) noexcept { npu_.deallocate(memory); }

void AscendDevice::upload(void* device, const void* host, size_t bytes) {
  npu_.bind();
  link_.upload(device, host, bytes);
}

void AscendDevice::download(void* host, const void* device, size_t bytes) {
  npu_.bind();
  link_.download(host, device, bytes);
}

// One operator for each stretch of rows that are written.
void AscendDevice::gather(Matrix in, std::span<const int32_t> index, Matrix out) {
  if (index.empty()) return;
  npu_.bind();
  const std::vector<int64_t> rows(index.begin(), index.end());
  int64_t* const on_device = index_.reserve<int64_t>(rows.size());
  link_.send<int64_t>(on_device, rows);
  const Array from = array_at(in.data, cann::DataType::kFloat32, {in.rows, in.cols});
  const auto end = static_cast<int64_t>(rows.size());
  for (int64_t first = 0; first < end;) {
    int64_t last = first;
    while (last < end && rows[last] >= 0) ++last;
    if (last > first)
      queue_.run(npu_.cann().operators.index_select, from, 0,
                 array_at(on_device + first, cann::DataType::kInt64, {last - first}),
                 array_at(out.part(first, last - first).data, cann::DataType::kFloat32, {last - first, in.cols}));
    first = last;
    while (first < end && rows[first] < 0) ++first;
  }
}

void AscendDevice::place_columns(Matrix part, int64_t first_column, Matrix out) {
  if (part.rows == 0 || part.cols == 0) return;
  npu_.bind();
  const Array to =
      columns_of(array_at(out.data, cann::DataType::kFloat32, {out.rows, out.cols}), first_column, part.cols);
  queue_.run(npu_.cann().operators.muls, array_at(part.data, cann::DataType::kFloat32, {part.rows, part.cols}), 1.0f,
             to);
}

std::unique_ptr<Collective> AscendDevice::connect(Collective& host) {
  npu_.bind();
  return HcclCollective::connect(npu_, host);
}

void AscendDevice::synchronize() {
  npu_.bind();
  link_.finish();
}

}  // namespace moe::ascend
