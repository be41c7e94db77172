// What the layers of a decoder share while a step goes through them.
#pragma once
#include <span>
#include <stop_token>
#include <vector>

#include "core/decoder/rotations.h"
#include "core/decoder_stages.h"
#include "core/experts/workspace.h"

namespace moe {

// Device memory for the activations of a step, which grows to the largest one. T tokens.
struct DecoderWorkspace {
  explicit DecoderWorkspace(Device& device)
      : hidden(device),
        normed(device),
        added(device),
        queries(device),
        keys(device),
        values(device),
        attended(device),
        latent(device),
        rotated(device),
        logits(device) {}

  DeviceBuffer hidden, normed, added;  // [T, H]: between layers, before a block, what a block adds
  DeviceBuffer queries, keys, values, attended;
  DeviceBuffer latent, rotated;  // of latent attention: a narrower query, the part of it that is rotated
  DeviceBuffer logits;
};

struct StepContext {
  Workspace& experts;
  DecoderWorkspace& workspace;
  Rotations& rotations;
  std::span<const std::vector<Segment>> segments;  // of each group of block tables
  std::stop_token stop;
};

// [rows, cols] in the buffer.
inline Matrix matrix_in(DeviceBuffer& buffer, int64_t rows, int64_t cols) {
  return float_matrix(buffer.reserve<float>(rows * cols), rows, cols);
}

}  // namespace moe
