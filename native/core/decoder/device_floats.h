// A small vector of weights on a device, in float32.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "core/experts/workspace.h"
#include "core/weights/read_weights.h"

namespace moe {

class DeviceFloats {
 public:
  // `vector` is read until this returns, and may be absent. `name`: of its packed part.
  DeviceFloats(Device& device, std::string name, const WeightVector& vector) : name_(std::move(name)), memory_(device) {
    const std::vector<float> values = read_vector(vector);
    if (values.empty()) return;
    device.upload(memory_.reserve<float>(values.size()), values.data(), values.size() * sizeof(float));
  }

  const std::string& name() const { return name_; }
  const float* data() const { return static_cast<const float*>(memory_.data()); }  // null without a vector
  size_t bytes() const { return memory_.bytes(); }

 private:
  std::string name_;
  DeviceBuffer memory_;
};

}  // namespace moe
