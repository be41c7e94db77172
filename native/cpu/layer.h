// A layer's weights, packed for the CPU's kernels.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "core/host/thread_pool.h"
#include "core/moe_stages.h"
#include "core/routing/router.h"
#include "cpu/weights.h"

namespace moe::cpu {

// The routed experts, or the always-on one, whose width the spec then has as that of an expert.
class CpuExperts final : public PreparedExperts {
 public:
  // Packs in parallel over experts and panels. Throws kOutOfMemory, or kAborted on a stop request. `gate` is absent but
  // for an always-on expert.
  CpuExperts(const Kernels& kernels, const LayerSpec& spec, std::span<const ExpertWeights> host,
             const WeightMatrix& gate, bool is_shared, ThreadPool::Team& team, Progress progress,
             const std::stop_token& stop);
  // Uses what was packed where it is. Throws kCheckpoint for parts that are missing or of a wrong size.
  CpuExperts(const Kernels& kernels, const LayerSpec& spec, const PackedWeights& packed, bool is_shared);

  size_t weight_bytes() const override;
  std::vector<PackedPart> packed_parts() const override;

  Activation activation;
  int32_t threads;
  std::shared_ptr<const void> memory;             // of what was packed before
  PackedMatrices up, down;                        // up with the gate projections, but where those stand apart
  std::optional<PackedMatrices> gate_projection;  // that is held in another way than up
  std::optional<PackedMatrices> gate;             // [1, H] float32

 private:
  struct Held;  // how each expert's matrices are held
  CpuExperts(const Kernels& kernels, const LayerSpec& spec, const Held& held, bool is_shared);
  void pack(std::span<const ExpertWeights> experts, ThreadPool::Team& team, Progress progress,
            const std::stop_token& stop);

  bool is_shared_;
};

class CpuLinear final : public PreparedLinear {
 public:
  CpuLinear(const Kernels& kernels, const LinearSpec& spec, const WeightMatrix& host, ThreadPool::Team& team);
  // Uses what was packed where it is, as CpuExperts does.
  CpuLinear(const Kernels& kernels, const LinearSpec& spec, const PackedWeights& packed);

  size_t weight_bytes() const override { return matrix.bytes(); }
  std::vector<PackedPart> packed_parts() const override { return {matrix.part(name)}; }

  std::string name;
  int32_t threads;
  std::shared_ptr<const void> memory;  // of what was packed before
  PackedMatrices matrix;
};

class CpuRouter final : public PreparedRouter {
 public:
  CpuRouter(const Kernels& kernels, const LayerSpec& spec, const LayerWeights& host);

  size_t weight_bytes() const override {
    return (matrix ? matrix->bytes() : 0) + (correction_bias.size() + expert_scale.size()) * sizeof(float);
  }
  std::vector<PackedPart> packed_parts() const override;

  MoEConfig moe;
  int32_t threads;
  std::shared_ptr<const void> memory;    // of what was packed before
  std::optional<PackedMatrices> matrix;  // [R, H] float32, of R rows of the router; absent when there is one
  std::vector<float> correction_bias;    // [R] or empty
  std::vector<float> expert_scale;       // [E] or empty
  mutable std::optional<Router> choose;  // keeps scratch; a device is driven by one thread
};

}  // namespace moe::cpu
