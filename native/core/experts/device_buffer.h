#pragma once
#include "core/device.h"
#include "core/host/growing_buffer.h"

namespace moe {

using DeviceBuffer = GrowingBuffer<Device>;

}  // namespace moe
