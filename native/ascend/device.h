// An NPU as a device.
#pragma once
#include "ascend/acl_op.h"
#include "ascend/stages.h"
#include "ascend/transfer.h"
#include "core/plugin.h"

namespace moe::ascend {

// Says in one line why no NPU can be used here; it is empty where one can.
std::string why_unavailable();

// The NPUs of this machine. None is opened for it, so how much memory they have is not known.
std::vector<DeviceInfo> device_infos();

// What a chip can.
Capabilities capabilities_of(const SocProfile& profile);

// All work goes through one stream; what waits is `synchronize`.
class AscendDevice : public Device {
 public:
  explicit AscendDevice(int index);

  const Capabilities& capabilities() const override { return capabilities_; }
  AscendStages& moe() override { return stages_; }

  void* allocate(size_t bytes) override;
  void deallocate(void* memory) noexcept override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void gather(Matrix in, std::span<const int32_t> index, Matrix out) override;
  void place_columns(Matrix part, int64_t first_column, Matrix out) override;
  std::unique_ptr<Collective> connect(Collective& host) override;
  void synchronize() override;

 private:
  Npu npu_;
  const Capabilities capabilities_ = capabilities_of(npu_.profile());
  OperatorQueue queue_;
  HostLink link_;
  AscendStages stages_;
  DeviceScratch index_;  // of the rows that are gathered
};

}  // namespace moe::ascend
