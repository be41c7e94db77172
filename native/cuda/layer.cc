#include "cuda/layer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/weights/read_weights.h"
#include "cuda/parallel_for.h"

namespace moe::cuda {
namespace {

// Packed and uploaded together: enough work for every thread, and little memory beside the weights.
constexpr size_t kBatchBytes = size_t{64} << 20;

bool has_biases(const ExpertWeights& expert) { return expert.gate_bias || expert.up_bias || expert.down_bias; }

PackedExperts allocate_experts(const LayerSpec& spec, std::span<const ExpertWeights> experts, int64_t width) {
  const auto count = static_cast<int32_t>(experts.size());
  const PacketLayout up{spec.weight_type, spec.weight_group, is_gated(spec.activation), width, spec.hidden_size, true};
  const PacketLayout down{spec.weight_type, spec.weight_group, false, spec.hidden_size, width, false};
  PackedExperts packed{
      {up, DeviceMemory(count * up.expert_bytes()), {}}, {down, DeviceMemory(count * down.expert_bytes()), {}}, count};
  if (std::ranges::any_of(experts, has_biases)) {
    packed.up.biases = DeviceMemory(count * up.blocks() * kPacketColumns * sizeof(float));
    packed.down.biases = DeviceMemory(count * down.blocks() * kPacketColumns * sizeof(float));
  }
  return packed;
}

struct Packing {
  int threads;
  Staging& staging;
  Progress progress;
  const std::stop_token& stop;
  int64_t done;
  int64_t total;
};

void pack_experts(PackedExperts& packed, std::span<const ExpertWeights> experts, Packing& packing) {
  const PacketLayout &up = packed.up.layout, &down = packed.down.layout;
  const int64_t up_blocks = up.blocks(), blocks = up_blocks + down.blocks(), count = packed.count;
  const size_t expert_bytes = up.expert_bytes() + down.expert_bytes();
  const auto batch = static_cast<int64_t>(std::clamp<size_t>(kBatchBytes / expert_bytes, 1, count));
  std::vector<uint8_t> up_bytes(batch * up.expert_bytes()), down_bytes(batch * down.expert_bytes());
  std::vector<float> biases(std::max(up.blocks(), down.blocks()) * kPacketColumns);

  for (int64_t first = 0; first < count; first += batch) {
    const int64_t here = std::min(batch, count - first);
    parallel_for(packing.threads, here * blocks, [&](int64_t index) {
      if (packing.stop.stop_requested()) throw Error(ErrorCode::kAborted, "Loading the weights was aborted");
      const int64_t expert = index / blocks, block = index % blocks;
      const ExpertWeights& from = experts[first + expert];
      if (block < up_blocks)
        pack_block(up, from.gate, from.up, block, &up_bytes[expert * up.expert_bytes() + block * up.block_bytes()]);
      else
        pack_block(down, {}, from.down, block - up_blocks,
                   &down_bytes[expert * down.expert_bytes() + (block - up_blocks) * down.block_bytes()]);
    });
    packing.staging.upload(packed.up.packets.as<uint8_t>() + first * up.expert_bytes(), up_bytes.data(),
                           here * up.expert_bytes());
    packing.staging.upload(packed.down.packets.as<uint8_t>() + first * down.expert_bytes(), down_bytes.data(),
                           here * down.expert_bytes());
    for (int64_t i = 0; i < here; ++i) {
      if (packed.up.biases.bytes() > 0) {
        const ExpertWeights& from = experts[first + i];
        const auto upload = [&](const PackedProduct& product, const WeightVector& gate, const WeightVector& own) {
          const int64_t values = product.layout.blocks() * kPacketColumns;
          pack_biases(product.layout, gate, own, biases.data());
          packing.staging.upload(product.biases.as<float>() + (first + i) * values, biases.data(),
                                 values * sizeof(float));
        };
        upload(packed.up, from.gate_bias, from.up_bias);
        upload(packed.down, {}, from.down_bias);
      }
      packing.progress(++packing.done, packing.total);
    }
  }
}

template <class T>
DeviceMemory to_device(const std::vector<T>& values, Staging& staging) {
  if (values.empty()) return {};
  DeviceMemory memory(values.size() * sizeof(T));
  staging.upload(memory.as<T>(), values.data(), memory.bytes());
  return memory;
}

// [out, in] as [in, out].
std::vector<float> transposed(const WeightMatrix& matrix) {
  if (!matrix) return {};
  std::vector<float> row(matrix.in_features), values(matrix.out_features * matrix.in_features);
  for (int64_t out = 0; out < matrix.out_features; ++out) {
    read_block(matrix, out, 1, 0, matrix.in_features, row.data());
    for (int64_t in = 0; in < matrix.in_features; ++in) values[in * matrix.out_features + out] = row[in];
  }
  return values;
}

}  // namespace

CudaLayer::CudaLayer(const LayerSpec& layer_spec, const LayerWeights& host, Staging& staging, Progress progress,
                     const std::stop_token& stop)
    : spec(layer_spec), experts(allocate_experts(spec, host.experts, spec.intermediate_size)) {
  if (spec.moe.expert_num > kMaxExperts)
    throw Error(ErrorCode::kConfig, "Expected at most " + std::to_string(kMaxExperts) +
                                        " experts on a CUDA device, got " + std::to_string(spec.moe.expert_num));
  if (host.shared) shared = allocate_experts(spec, {&*host.shared, 1}, spec.shared_size);
  Packing packing{
      packing_threads(spec.threads), staging, progress, stop, 0, spec.held_experts() + (host.shared ? 1 : 0)};
  pack_experts(experts, host.experts, packing);
  if (shared) pack_experts(*shared, {&*host.shared, 1}, packing);
  shared_router = to_device(transposed(host.shared_router), staging);
  if (spec.moe.expert_num == 1) return;

  router = to_device(transposed(host.router), staging);
  router_bias = to_device(read_vector(host.router_bias), staging);
  std::vector<float> correction = read_vector(host.correction_bias);
  for (float& bias : correction)
    if (std::isnan(bias)) bias = -std::numeric_limits<float>::infinity();
  correction_bias = to_device(correction, staging);
  std::vector<double> factors;
  std::vector<int32_t> groups;
  for (const AuxLoss& loss : spec.moe.aux_losses) {
    factors.push_back(loss.factor);
    groups.push_back(loss.expert_groups);
  }
  aux_factors = to_device(factors, staging);
  aux_groups = to_device(groups, staging);
}

size_t CudaLayer::weight_bytes() const {
  return experts.bytes() + (shared ? shared->bytes() : 0) + router.bytes() + router_bias.bytes() +
         correction_bias.bytes() + shared_router.bytes();
}

}  // namespace moe::cuda
