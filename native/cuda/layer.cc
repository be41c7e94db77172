#include "cuda/layer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/host/host_executor.h"
#include "core/weights/read_weights.h"

namespace moe::cuda {
namespace {

// Packed and uploaded together: enough work for every thread, and little memory beside the weights.
constexpr size_t kBatchBytes = size_t{64} << 20;

bool has_biases(const ExpertWeights& expert) { return expert.gate_bias || expert.up_bias || expert.down_bias; }

PackedProduct allocate(const PacketLayout& layout, int64_t experts, bool biased) {
  PackedProduct product{layout, DeviceMemory(experts * layout.expert_bytes()), {}};
  if (biased) product.biases = DeviceMemory(experts * layout.blocks() * kPacketColumns * sizeof(float));
  return product;
}

struct Packing {
  Executor& executor;
  Staging& staging;
  Progress progress;
  const std::stop_token& stop;
};

void pack_experts(CudaExperts& packed, std::span<const ExpertWeights> experts, const Packing& packing) {
  const PacketLayout &up = packed.up.layout, &down = packed.down.layout;
  const int64_t up_blocks = up.blocks(), blocks = up_blocks + down.blocks(), count = packed.count;
  const size_t expert_bytes = up.expert_bytes() + down.expert_bytes();
  const auto batch = static_cast<int64_t>(std::clamp<size_t>(kBatchBytes / expert_bytes, 1, count));
  std::vector<uint8_t> up_bytes(batch * up.expert_bytes()), down_bytes(batch * down.expert_bytes());
  std::vector<float> biases(std::max(up.blocks(), down.blocks()) * kPacketColumns);

  for (int64_t first = 0; first < count; first += batch) {
    const int64_t here = std::min(batch, count - first);
    const auto pack = [&](int64_t index) {
      if (packing.stop.stop_requested()) throw Error(ErrorCode::kAborted, "Loading the weights was aborted");
      const int64_t expert = index / blocks, block = index % blocks;
      const ExpertWeights& from = experts[first + expert];
      if (block < up_blocks)
        pack_block(up, from.gate, from.up, block, &up_bytes[expert * up.expert_bytes() + block * up.block_bytes()]);
      else
        pack_block(down, {}, from.down, block - up_blocks,
                   &down_bytes[expert * down.expert_bytes() + (block - up_blocks) * down.block_bytes()]);
    };
    packing.executor.parallel_for(here * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t index = begin; index < end; ++index) pack(index);
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
      packing.progress(first + i + 1, count);
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

CudaExperts::CudaExperts(const LayerSpec& spec, std::span<const ExpertWeights> host, const WeightMatrix& gate_weights,
                         Staging& staging, Progress progress, const std::stop_token& stop)
    : type(spec.weight_type),
      activation(spec.activation),
      hidden_size(spec.hidden_size),
      count(static_cast<int32_t>(host.size())) {
  const bool biased = std::ranges::any_of(host, has_biases);
  up = allocate({type, spec.weight_group, is_gated(activation), spec.intermediate_size, hidden_size, true}, count,
                biased);
  down = allocate({type, spec.weight_group, false, hidden_size, spec.intermediate_size, false}, count, biased);
  HostExecutor executor(spec.threads);
  pack_experts(*this, host, {executor, staging, progress, stop});
  gate = to_device(transposed(gate_weights), staging);
}

CudaRouter::CudaRouter(const LayerSpec& spec, const LayerWeights& host, Staging& staging)
    : moe(spec.moe), hidden_size(spec.hidden_size) {
  if (moe.router_rows() == 1) return;
  matrix = to_device(transposed(host.router), staging);
  bias = to_device(read_vector(host.router_bias), staging);
  std::vector<float> correction = read_vector(host.correction_bias);
  for (float& each : correction)
    if (std::isnan(each)) each = -std::numeric_limits<float>::infinity();
  correction_bias = to_device(correction, staging);
  expert_scale = to_device(read_vector(host.expert_scale), staging);
  std::vector<double> factors;
  std::vector<int32_t> groups;
  for (const AuxLoss& loss : moe.aux_losses) {
    factors.push_back(loss.factor);
    groups.push_back(loss.expert_groups);
  }
  aux_factors = to_device(factors, staging);
  aux_groups = to_device(groups, staging);
}

}  // namespace moe::cuda
