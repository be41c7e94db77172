// A layer's weights in the memory of a CUDA device.
#pragma once
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "core/moe_stages.h"
#include "cuda/memory.h"
#include "cuda/transfer.h"
#include "cuda/weights.h"

namespace moe::cuda {

// All experts' matrices of one product.
struct PackedProduct {
  PacketLayout layout;
  DeviceMemory packets;  // [experts][blocks][packets]
  DeviceMemory biases;   // [experts][blocks][16]; empty where no expert has one

  size_t bytes() const { return packets.bytes() + biases.bytes(); }
};

// The routed experts, or the always-on one.
class CudaExperts final : public PreparedExperts {
 public:
  // Packs on the host, with spec.threads threads or all that the process may use, and uploads through `staging`. `gate`
  // is absent but for an always-on expert. Throws kOutOfMemory, or kAborted on a stop request.
  CudaExperts(const LayerSpec& spec, std::span<const ExpertWeights> host, const WeightMatrix& gate, Staging& staging,
              Progress progress, const std::stop_token& stop);

  size_t weight_bytes() const override { return up.bytes() + down.bytes() + gate.bytes(); }
  std::vector<PackedPart> packed_parts() const override { return {}; }

  WeightType type;
  Activation activation;
  int32_t hidden_size, count;
  PackedProduct up, down;
  DeviceMemory gate;  // [H], or empty
};

class CudaRouter final : public PreparedRouter {
 public:
  CudaRouter(const LayerSpec& spec, const LayerWeights& host, Staging& staging);

  size_t weight_bytes() const override {
    return matrix.bytes() + bias.bytes() + correction_bias.bytes() + expert_scale.bytes();
  }
  std::vector<PackedPart> packed_parts() const override { return {}; }
  std::vector<std::string> notes() const override { return {}; }

  MoEConfig moe;
  int32_t hidden_size;
  DeviceMemory matrix;           // [H, R] float32, of R rows of the router; empty when there is one
  DeviceMemory bias;             // [R], or empty
  DeviceMemory correction_bias;  // [R], or empty; NaN is -infinity
  DeviceMemory expert_scale;     // [E], or empty
  DeviceMemory aux_factors;      // [aux losses] double
  DeviceMemory aux_groups;       // [aux losses] int32
};

}  // namespace moe::cuda
