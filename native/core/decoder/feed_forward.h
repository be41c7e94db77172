// What follows attention in a layer: a Mixture-of-Experts layer, or a dense one.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/decoder/inventory.h"
#include "core/decoder/spec.h"
#include "core/decoder/step_context.h"
#include "core/layer/layer.h"

namespace moe {

class FeedForward {
 public:
  virtual ~FeedForward() = default;

  // in, out [T, H]
  virtual void run(StepContext& step, Matrix in, Matrix out) = 0;
  // Parts begin with `feed_forward.`.
  virtual void list(Inventory& inventory) const = 0;
  // Tokens of the last run that each expert served, after `synchronize`; none for a dense layer.
  virtual const std::vector<uint32_t>& last_load() const = 0;
};

std::unique_ptr<FeedForward> make_feed_forward(Device& device, const DecoderLayerSpec& spec,
                                               const LayerWeights& weights, Progress progress,
                                               const std::stop_token& stop,
                                               std::optional<ParallelOptions> parallel = {});

}  // namespace moe
