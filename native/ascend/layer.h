// A layer's weights on an NPU.
#pragma once
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "ascend/gating.h"
#include "ascend/router_weights.h"
#include "ascend/weights.h"
#include "core/moe_stages.h"
#include "core/routing/router.h"

namespace moe::ascend {

// The two products of an expert, for all experts, or for the always-on one.
class AscendExperts final : public PreparedExperts {
 public:
  // Packs expert by expert through pinned memory. `gate` is absent but for an always-on expert. Throws kConfig,
  // kOutOfMemory, or kAborted on a stop request.
  AscendExperts(Npu& npu, const LayerSpec& spec, std::span<const ExpertWeights> host, const WeightMatrix& gate,
                Progress progress, const std::stop_token& stop);

  size_t weight_bytes() const override { return up.bytes() + down.bytes() + (gate ? gate->bytes() : 0); }
  std::vector<PackedPart> packed_parts() const override { return {}; }

  LayerSpec spec;
  ExpertTypes types;
  Projections up, down;
  std::optional<RouterWeights> gate;  // [H, 1]

  // H as the chip's operators take it, and int64 column numbers that bring rows to that width and back; null where H is
  // such a width.
  int64_t padded_hidden;
  DeviceScratch widening, narrowing;

 private:
  void place_small_weights(Npu& npu);
};

class AscendRouter final : public PreparedRouter {
 public:
  AscendRouter(Npu& npu, const LayerSpec& spec, const LayerWeights& host);

  size_t weight_bytes() const override { return matrix ? matrix->bytes() : 0; }
  std::vector<PackedPart> packed_parts() const override { return {}; }
  std::vector<std::string> notes() const override;

  LayerSpec spec;
  std::optional<RouterWeights> matrix;  // absent when there is one expert
  Gating gating;
  std::vector<float> correction_bias;    // [R] of R rows of the router, or empty
  DeviceScratch device_correction_bias;  // the same, where an operator takes it
  mutable std::optional<Router> choose;  // on the host; keeps scratch
};

}  // namespace moe::ascend
