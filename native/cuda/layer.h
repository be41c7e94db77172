// A layer's weights in the memory of a CUDA device.
#pragma once
#include <optional>
#include <stop_token>

#include "core/device.h"
#include "cuda/memory.h"
#include "cuda/weights.h"
#include "cuda/transfer.h"

namespace moe::cuda {

// All experts' matrices of one product.
struct PackedProduct {
  PacketLayout layout;
  DeviceMemory packets;  // [experts][blocks][packets]
  DeviceMemory biases;   // [experts][blocks][16]; empty where no expert has one

  size_t bytes() const { return packets.bytes() + biases.bytes(); }
};

struct PackedExperts {
  PackedProduct up, down;
  int32_t count;

  size_t bytes() const { return up.bytes() + down.bytes(); }
};

class CudaLayer final : public PreparedLayer {
 public:
  // Packs on the host, with spec.threads threads or all processors, and uploads through `staging`. Throws kConfig for
  // what this device does not do, kOutOfMemory, or kAborted on a stop request.
  CudaLayer(const LayerSpec& spec, const LayerWeights& host, Staging& staging, Progress progress,
            const std::stop_token& stop);

  size_t weight_bytes() const override;

  LayerSpec spec;
  PackedExperts experts;
  std::optional<PackedExperts> shared;
  DeviceMemory router;           // [H, E] float32; empty when there is one expert
  DeviceMemory router_bias;      // [E], or empty
  DeviceMemory correction_bias;  // [E], or empty; NaN is -infinity
  DeviceMemory shared_router;    // [H], or empty
  DeviceMemory aux_factors;      // [aux losses] double
  DeviceMemory aux_groups;       // [aux losses] int32
};

}  // namespace moe::cuda
