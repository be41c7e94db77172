#include "core/decoder/rotations.h"

#include <cmath>
#include <utility>

namespace moe {

Rotations::Rotations(Device& device, std::vector<RotationSpec> specs) : device_(device), specs_(std::move(specs)) {
  for (size_t i = 0; i < specs_.size(); ++i) buffers_.push_back(std::make_unique<DeviceBuffer>(device_));
}

void Rotations::start(std::span<const int64_t> positions) {
  positions_ = positions;
  made_.assign(specs_.size(), false);
}

Matrix Rotations::of(int32_t rotation) {
  if (rotation < 0) return {};
  const RotationSpec& spec = specs_[rotation];
  const auto pairs = static_cast<int64_t>(spec.frequencies.size()), tokens = static_cast<int64_t>(positions_.size());
  auto* const values = buffers_[rotation]->reserve<float>(tokens * 2 * pairs);
  const Matrix matrix = float_matrix(values, tokens, 2 * pairs);
  if (made_[rotation]) return matrix;
  host_.resize(tokens * 2 * pairs);
  for (int64_t token = 0; token < tokens; ++token) {
    float* const cosines = host_.data() + token * 2 * pairs;
    for (int64_t pair = 0; pair < pairs; ++pair) {
      const double angle = static_cast<double>(positions_[token]) * spec.frequencies[pair];
      cosines[pair] = static_cast<float>(std::cos(angle) * spec.factor);
      cosines[pairs + pair] = static_cast<float>(std::sin(angle) * spec.factor);
    }
  }
  device_.upload(values, host_.data(), matrix.bytes());
  made_[rotation] = true;
  return matrix;
}

}  // namespace moe
