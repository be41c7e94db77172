#include "core/ranks/layer_facts.h"

#include <cstring>
#include <string>

#include "core/error.h"

namespace moe {
namespace {

constexpr std::array kNames{
    "expertNum",       "numExpertsChosen", "hiddenSize",       "intermediateSize", "shared expert size",
    "activation",      "weightType",       "weightGroup",      "routingPolicy",    "capacityFactor",
    "expertGroupSize", "topkMethod",       "useGatingSigmoid", "normTopkProb",     "compCommParallelDegree",
    "groupWiseA2a",    "enableSdrop",      "placement"};

int64_t digest_of_sets(const Placement& placement) {
  constexpr int32_t kEndOfSet[] = {-1};
  uint64_t digest = digest_of({});
  for (int set = 0; set < placement.sets(); ++set)
    digest = digest_of(kEndOfSet, digest_of(placement.experts_of(set), digest));
  return static_cast<int64_t>(digest);
}

int64_t bits_of(double value) {
  int64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

}  // namespace

uint64_t digest_of(std::span<const int32_t> values, uint64_t digest) {
  for (const int32_t value : values) digest = (digest ^ static_cast<uint32_t>(value)) * 0x100000001b3;
  return digest;
}

LayerFacts::LayerFacts(const LayerSpec& spec, const Placement& placement, int32_t chunks, bool group_wise)
    : values_{spec.moe.expert_num,
              spec.moe.num_experts_chosen,
              spec.hidden_size,
              spec.intermediate_size,
              spec.shared_size,
              static_cast<int64_t>(spec.activation),
              static_cast<int64_t>(spec.weight_type),
              spec.weight_group,
              static_cast<int64_t>(spec.moe.routing_policy),
              bits_of(spec.moe.capacity_factor),
              spec.moe.tokens_per_group,
              static_cast<int64_t>(spec.moe.topk_method),
              spec.moe.use_gating_sigmoid,
              spec.moe.norm_topk_prob,
              chunks,
              group_wise,
              spec.moe.enable_sdrop,
              digest_of_sets(placement)} {
  static_assert(kNames.size() == kCount);
}

void LayerFacts::expect_same(std::span<const std::byte> theirs, int rank, int own_rank) const {
  std::array<int64_t, kCount> values;
  std::memcpy(values.data(), theirs.data(), sizeof(values));
  for (size_t i = 0; i < kCount; ++i)
    if (values[i] != values_[i])
      throw Error(ErrorCode::kConfig, "Expected every rank to describe the same layer: `" + std::string(kNames[i]) +
                                          "` of rank " + std::to_string(rank) + " is not that of rank " +
                                          std::to_string(own_rank));
}

}  // namespace moe
