#include "core/plugin.h"

#include "ascend/stages.h"
#include "ascend/info.h"

namespace {

std::unique_ptr<moe::Backend> open_backend(int index) { return std::make_unique<moe::ascend::AscendBackend>(index); }

}  // namespace

const moe::Plugin* moe_plugin() {
  static const moe::Plugin plugin{.build_id = moe::kBuildId,
                                  .name = "ascend",
                                  .why_unavailable = moe::ascend::why_unavailable,
                                  .devices = moe::ascend::device_infos,
                                  .open = open_backend};
  return &plugin;
}
