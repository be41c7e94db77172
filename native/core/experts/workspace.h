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
        experts(device),
        weights(device),
        expert_load(device),
        totals(device),
        weighed(device),
        ones(device) {}

  DeviceBuffer hidden, output, rows, shared;
  DeviceBuffer experts, weights, expert_load, totals;
  DeviceBuffer weighed, ones;    // of weights on the input
  std::vector<float> widened;    // a 16-bit batch as float32, on the host
  std::vector<int32_t> choices;  // the routing's experts, on the host
};

}  // namespace moe
