#include "core/plugin.h"

#include "ascend/device.h"

const moe::Plugin* moe_plugin() {
  static const moe::Plugin ascend{
      moe::kBuildId, "ascend", moe::ascend::why_unavailable, moe::ascend::device_infos,
      [](int index) -> std::unique_ptr<moe::Device> { return std::make_unique<moe::ascend::AscendDevice>(index); }};
  return &ascend;
}
