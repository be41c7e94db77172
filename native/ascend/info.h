#pragma once
#include <string>
#include <vector>

#include "core/plugin.h"

namespace moe::ascend {

// Why no NPU can be used here, in one line; empty where one can.
std::string why_unavailable();

// The NPUs of this machine. None is opened for it, so how much memory they have is not known.
std::vector<DeviceInfo> device_infos();

}  // namespace moe::ascend
