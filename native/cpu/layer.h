// A layer's weights, packed for the CPU's kernels.
#pragma once
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "core/device.h"
#include "core/routing/router.h"
#include "cpu/weights.h"
#include "core/host/thread_pool.h"

namespace moe::cpu {

// The two products of an expert: up (with gate) and down.
struct PackedExperts {
  PackedMatrices up, down;
};

class CpuLayer final : public PreparedLayer {
 public:
  // Packs in parallel over experts and panels. Throws kOutOfMemory, or kAborted on a stop request.
  CpuLayer(const Kernels& kernels, const LayerSpec& spec, const LayerWeights& host, ThreadPool::Team& team,
           Progress progress, const std::stop_token& stop);
  // Uses what was packed where it is. Throws kCheckpoint for parts that are missing or of a wrong size.
  CpuLayer(const Kernels& kernels, const LayerSpec& spec, const PackedWeights& packed);

  size_t weight_bytes() const override;
  std::vector<PackedPart> packed_parts() const override;

  LayerSpec spec;
  std::shared_ptr<const void> memory;  // of what was packed before
  PackedExperts experts;
  std::optional<PackedExperts> shared;
  std::optional<PackedMatrices> router;         // [E, H] float32; absent when there is one expert
  std::optional<PackedMatrices> shared_router;  // [1, H] float32
  std::vector<float> correction_bias;           // [E] or empty
  mutable std::optional<Router> choose;         // keeps scratch; a device is driven by one thread
};

}  // namespace moe::cpu
