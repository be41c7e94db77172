// What the CPU calls itself and what it offers.
#pragma once
#include "core/plugin.h"

namespace moe::cpu {

// Throws kDeviceUnavailable when MOE_CPU_ISA names a set the CPU lacks.
DeviceInfo device_info();

}  // namespace moe::cpu
