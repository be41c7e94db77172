// A small vector of weights on a device, in float32.
#pragma once
#include <vector>

#include "core/experts/workspace.h"
#include "core/weights/read_weights.h"

namespace moe {

class DeviceFloats {
 public:
  // `vector` is read until this returns, and may be absent.
  DeviceFloats(Device& device, const WeightVector& vector) : memory_(device) {
    const std::vector<float> values = read_vector(vector);
    if (values.empty()) return;
    device.upload(memory_.reserve<float>(values.size()), values.data(), values.size() * sizeof(float));
  }

  const float* data() const { return static_cast<const float*>(memory_.data()); }  // null without a vector
  size_t bytes() const { return memory_.bytes(); }

 private:
  DeviceBuffer memory_;
};

}  // namespace moe
