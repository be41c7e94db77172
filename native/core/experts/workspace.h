// Device memory for one batch. One per device: its layers run one after another and share it.
#pragma once
#include <vector>

#include "core/device.h"
#include "core/host/growing_buffer.h"

namespace moe {

using DeviceBuffer = GrowingBuffer<Device>;

struct Workspace {
  explicit Workspace(Device& on) : device(on) {}

  Device& device;
  DeviceBuffer hidden{device}, output{device}, rows{device}, shared{device};
  DeviceBuffer latent{device}, mixed{device};  // what routed experts take and give, where it is narrower than a token
  DeviceBuffer experts{device}, weights{device}, expert_load{device}, totals{device};
  DeviceBuffer weighed{device}, ones{device};  // of weights on the input
  std::vector<float> widened;    // a 16-bit batch as float32, on the host
  std::vector<int32_t> choices;  // the routing's experts, on the host
};

}  // namespace moe
