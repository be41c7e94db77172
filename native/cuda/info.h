// Which CUDA devices there are, and whether they can run the kernels.
#pragma once
#include <string>
#include <vector>

#include "core/plugin.h"

namespace moe::cuda {

// One line that says what is missing; empty where a device can be used.
std::string why_unavailable();

// All devices, those that cannot be used as well: an index is CUDA's own.
std::vector<DeviceInfo> devices();

// Makes the device the calling thread's and prepares it for the kernels. Throws kDeviceUnavailable.
void use_device(int index);

}  // namespace moe::cuda
