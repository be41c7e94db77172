#include "core/plugin.h"

#include "ascend/device.h"
#include "ascend/info.h"

namespace {

std::unique_ptr<moe::Device> open_device(int index) { return std::make_unique<moe::ascend::AscendDevice>(index); }

}  // namespace

const moe::Plugin* moe_plugin() {
  static const moe::Plugin plugin{.build_id = moe::kBuildId,
                                  .name = "ascend",
                                  .why_unavailable = moe::ascend::why_unavailable,
                                  .devices = moe::ascend::device_infos,
                                  .open = open_device};
  return &plugin;
}
