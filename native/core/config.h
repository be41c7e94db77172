// What a layer is: MindFormers' MoEConfig, checked by src/config/config.ts, and the sizes around it.
#pragma once
#include <cstdint>
#include <vector>

#include "core/activation.h"
#include "core/tensor.h"

namespace moe {

enum class RoutingPolicy : uint8_t { kTopkRouterV1, kTopkRouterV2 };
// Of a token's logits: softmax, sigmoid, sqrt(log(1 + e^l)), or Phi-3.5-MoE's two rounds, which have no scores.
enum class ScoreFunction : uint8_t { kSoftmax, kSigmoid, kSqrtSoftplus, kSparseMixer };
enum class TopkMethod : uint8_t { kGreedy, kGroupLimitedGreedy, kNoauxTc };

// A balance loss of TopkRouterV2: factor * E^2 * mean over groups of (mean score * share of choices), the experts
// averaged over `expert_groups` consecutive groups (expert: E groups; device, comm: fewer).
struct AuxLoss {
  double factor;
  int32_t expert_groups;
};

// Names and meaning are MindFormers', and src/config/fields.ts' for what MindFormers lacks; TypeScript has applied
// defaults and checks.
struct MoEConfig {
  int32_t expert_num = 1;
  double capacity_factor = 1.1;
  double aux_loss_factor = 0.05;
  int32_t num_experts_chosen = 1;
  int64_t tokens_per_group = 0;  // capacity is counted per group of this many tokens; 0: the whole batch is one group

  RoutingPolicy routing_policy = RoutingPolicy::kTopkRouterV1;
  // The rest has an effect in TopkRouterV2 only.
  ScoreFunction score_function = ScoreFunction::kSoftmax;
  TopkMethod topk_method = TopkMethod::kGreedy;
  int32_t n_group = 1;
  int32_t topk_group = 1;
  bool exclude_masked_groups = false;  // false: scores of masked groups become 0 (MindFormers); true: -infinity
  bool balance_via_topk_bias = false;
  bool norm_topk_prob = true;
  double norm_topk_epsilon = 1e-9;
  double routed_scaling_factor = 1.0;
  bool enable_sdrop = false;
  int32_t capacity_multiple = 1;  // capacity is rounded up to a multiple of this: mp * comp_comm_parallel_degree
  std::vector<AuxLoss> aux_losses;
  double z_loss_factor = 0.0;
  double sparsemixer_epsilon = 0.01;
  double logit_soft_cap = 0.0;  // 0: none
  bool choose_by_logit = false;
  bool norm_topk_single = false;
  int32_t zero_expert_num = 0;           // experts from expert_num on: the identity
  int32_t always_chosen_expert_num = 0;  // the last of expert_num
  bool weight_on_input = false;
  double shared_expert_scale = 1.0;
  int64_t expert_capacity = 0;  // slots per expert and group in place of capacity_factor's; 0: those

  // Rows of the router: what a token chooses among.
  int32_t router_rows() const { return expert_num + zero_expert_num; }
  bool normalizes() const { return norm_topk_prob && (num_experts_chosen > 1 || norm_topk_single); }
  // TopkRouterV2's capacity may cut choices.
  bool limits_slots() const { return expert_capacity > 0 || capacity_factor > 0.0; }
};

// How a device holds experts: which format (core/weight_format.h), or each matrix as the checkpoint has it
// (core/weights/grouped.h).
enum class WeightType : uint8_t { kFloat32, kBFloat16, kFloat16, kInt8, kInt4, kPublished };

// What rows are rounded to before each product: `activationType`. Those of int8 make it a product of integers.
enum class RowType : uint8_t { kFloat32, kBFloat16, kInt8 };

struct LayerSpec {
  MoEConfig moe;
  int32_t hidden_size = 0;
  int32_t intermediate_size = 0;
  int32_t shared_size = 0;  // width of the shared expert, 0 when there is none
  int32_t latent_size = 0;  // width of the rows that the routed experts take and give; 0: that of a token
  Activation activation, shared_activation;       // of the routed experts, of the shared one
  WeightType weight_type = WeightType::kFloat32;  // of the experts; the router is always float32
  int32_t weight_group = 0;                       // inputs that share a scale; 0: all, or no scales
  // What is held here, where experts are spread over ranks; 0: all of it.
  int32_t local_experts = 0;      // how many of the experts
  int32_t intermediate_part = 0;  // how many of I, in gate and up
  int32_t hidden_part = 0;        // how many of H, in down
  RowType row_type = RowType::kFloat32;
  int32_t threads = 0;  // at most this many of the device's threads work on the layer; 0: all of them

  int32_t held_experts() const { return local_experts > 0 ? local_experts : moe.expert_num; }
  int32_t held_intermediate() const { return intermediate_part > 0 ? intermediate_part : intermediate_size; }
  int32_t held_hidden() const { return hidden_part > 0 ? hidden_part : routed_size(); }
  // The width of the rows that the routed experts take and give.
  int32_t routed_size() const { return latent_size > 0 ? latent_size : hidden_size; }
  // The routed experts as those of a layer without a latent size.
  LayerSpec of_routed() const {
    LayerSpec spec = *this;
    spec.hidden_size = routed_size();
    spec.latent_size = 0;
    return spec;
  }
  // The always-on expert as the only one of a layer, whole.
  LayerSpec of_shared() const {
    LayerSpec spec = *this;
    spec.intermediate_size = shared_size;
    spec.latent_size = 0;
    spec.activation = shared_activation;
    spec.local_experts = 1;
    spec.intermediate_part = spec.hidden_part = 0;
    return spec;
  }
};

}  // namespace moe
