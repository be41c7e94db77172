// Cosines and sines of a step's tokens, once for every rotation that its layers name.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/decoder/spec.h"
#include "core/experts/workspace.h"

namespace moe {

class Rotations {
 public:
  Rotations(Device& device, std::vector<RotationSpec> specs);

  // The step's tokens are at these positions.
  void start(std::span<const int64_t> positions);
  // [T, 2 * pairs] of a rotation, on the device until the next step; without data for -1.
  Matrix of(int32_t rotation);
  const RotationSpec& spec(int32_t rotation) const { return specs_[rotation]; }

 private:
  Device& device_;
  std::vector<RotationSpec> specs_;
  std::vector<std::unique_ptr<DeviceBuffer>> buffers_;  // of each rotation
  std::vector<bool> made_;                              // of this step
  std::span<const int64_t> positions_;
  std::vector<float> host_;
};

}  // namespace moe
