// Device memory for one batch. One per device: its layers run one after another and share it.
#pragma once
#include <vector>

#include "core/experts/device_buffer.h"

namespace moe {

struct Workspace {
  explicit Workspace(Device& device)
      : hidden(device),
        output(device),
        rows(device),
        shared(device),
        latent(device),
        mixed(device),
        experts(device),
        weights(device),
        expert_load(device),
        totals(device) {}

  DeviceBuffer hidden, output, rows, shared;
  DeviceBuffer latent, mixed;  // what the routed experts take and give, where that is narrower than a token
  DeviceBuffer experts, weights, expert_load, totals;
  std::vector<float> widened;    // a 16-bit batch as float32, on the host
  std::vector<int32_t> choices;  // the routing's experts, on the host
};

}  // namespace moe
