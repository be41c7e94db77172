// A layer's weights on an NPU.
#pragma once
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "ascend/gating.h"
#include "ascend/weights.h"
#include "ascend/router_weights.h"
#include "core/device.h"
#include "core/routing/router.h"

namespace moe::ascend {

// The two products of an expert, for all experts.
struct Experts {
  Experts(Npu& device, const ExpertTypes& types, const LayerSpec& spec, int64_t width,
          std::span<const ExpertWeights> host);

  Projections up, down;
};

class AscendLayer final : public PreparedLayer {
 public:
  // Packs expert by expert through pinned memory. Throws kConfig, kOutOfMemory, or kAborted on a stop request.
  AscendLayer(Npu& device, const LayerSpec& spec, const LayerWeights& host, Progress progress,
              const std::stop_token& stop);

  size_t weight_bytes() const override;
  std::vector<std::string> notes() const override;

  LayerSpec spec;
  ExpertTypes types;
  Experts experts;
  std::optional<Experts> shared;
  std::optional<RouterWeights> router;         // absent when there is one expert
  std::optional<RouterWeights> shared_router;  // [H, 1]
  Gating gating;
  std::vector<float> correction_bias;    // [E], or empty
  DeviceScratch device_correction_bias;  // the same, where an operator takes it
  mutable std::optional<Router> choose;  // on the host; keeps scratch

  // H as the chip's operators take it, and int64 column numbers that bring rows to that width and back; null where H is
  // such a width.
  int64_t padded_hidden;
  DeviceScratch widening, narrowing;

 private:
  void place_small_weights(Npu& device);
};

}  // namespace moe::ascend
