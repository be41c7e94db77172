import type { Scalar } from './row.js';

/**
 * Names that one fact has in the configs of several models: Transformers writes a model's own name or the one that it
 * uses itself.
 */
export const keyAliases: readonly (readonly string[])[] = [
  ['num_experts', 'num_local_experts', 'n_routed_experts', 'moe_num_experts'],
  [
    ...['num_experts_per_tok', 'num_experts_per_token', 'experts_per_token'],
    ...['moe_k', 'moe_topk', 'moe_top_k', 'top_k_experts'],
  ],
  ['moe_intermediate_size', 'expert_ffn_hidden_size'],
  ['n_shared_experts', 'num_shared_experts', 'moe_num_shared_experts'],
  ['share_expert_dim', 'share_expert_dims'],
  ['n_group', 'num_expert_group'],
  ['norm_topk_prob', 'moe_renormalize', 'norm_expert_weight'],
  ['scoring_func', 'moe_router_activation_func', 'moe_router_activation'],
  ['hidden_act', 'hidden_activation', 'activation_function'],
];

/**
 * Keys that change what an MoE block computes in the models that have them, and the values at which they change nothing.
 * Absent and null change nothing either. Rules of rows read no others, so what one family knows is refused in the rest.
 */
const neutral = {
  ...valued([0], ['n_shared_experts', 'shared_expert_intermediate_size']),
  ...valued([0], ['shared_intermediate_size', 'moe_shared_expert_intermediate_size']),
  ...valued([0], ['share_expert_dim', 'moe_latent_size', 'zero_expert_num']),
  ...valued([0], ['moe_router_logit_softcapping', 'moe_token_dropout', 'num_hash_layers']),
  ...valued([1], ['n_group', 'topk_group']),
  ...valued([1], ['routed_scaling_factor', 'router_scaling_factor', 'route_scale']),
  ...valued([1], ['moe_routed_scaling_factor', 'moe_router_scaling_factor']),
  ...valued([1], ['moe_normalize_expert_weights', 'moe_eval_capacity_token_fraction']),
  ...valued([true], ['norm_topk_prob', 'route_norm', 'enable_moe_block']),
  ...valued(
    [false],
    ['use_expert_bias', 'moe_apply_router_weight_on_input', 'mlp_bias', 'router_bias'],
  ),
  ...valued([false], ['normalize_router_prob_before_dropping', 'batch_prioritized_routing']),
  ...valued([false], ['moe_router_use_sigmoid', 'moe_router_enable_expert_bias']),
  ...valued([false], ['use_routing_bias', 'use_moe_router_bias']),
  ...valued(['softmax'], ['moe_gate_act']),
  ...valued(['softmax'], ['scoring_func', 'score_func', 'expert_selection_fn']),
  ...valued(['greedy'], ['topk_method']),
  ...valued(['silu', 'swish'], ['mlp_hidden_act']),
  ...valued(['sum'], ['shared_expert_combination_strategy']),
  ...valued(['all'], ['second_expert_policy']),
  ...valued(['identity'], ['zero_expert_type']),
  ...valued([], ['moe_intermediate_size', 'moe_norm_min', 'expert_capacity', 'expert_dtype']),
  ...valued([], ['swiglu_limit', 'swiglu_alpha', 'swiglu_limits', 'swiglu_limits_shared']),
  ...valued([], ['router_hidden_size', 'ffn_config', 'ffn_act_fn']),
} satisfies Readonly<Record<string, readonly Scalar[]>>;

export const blockKeys: ReadonlyMap<string, readonly unknown[]> = new Map(Object.entries(neutral));

/** Keys that rules read: these, and some that mean nothing to a family that does not read them. */
export type BlockKey = keyof typeof neutral | 'hidden_act' | 'dense_act_fn' | 'router_jitter_noise';

/** Keys of sizes beside those. */
export type SizeKey =
  | 'hidden_size'
  | 'd_model'
  | 'num_experts'
  | 'num_local_experts'
  | 'n_routed_experts'
  | 'moe_num_experts'
  | 'num_experts_per_tok'
  | 'intermediate_size'
  | 'ffn_hidden_size'
  | 'encoder_ffn_dim'
  | 'decoder_ffn_dim'
  | 'd_ff';

function valued<const Name extends string>(
  values: readonly Scalar[],
  keys: readonly Name[],
): Record<Name, readonly Scalar[]> {
  return Object.fromEntries(keys.map((key) => [key, values])) as Record<Name, readonly Scalar[]>;
}

/** Keys that sound like an MoE block's and do not change what it computes: which layers have one, and how it is trained. */
const otherKeys =
  /^(moe_layers?(_.*)?|mlp_layer_types|expert_layer_(period|offset)|(en|de)coder_sparse_step|num_sparse_.*|shared_head.*|index_topk|num_kv_shared_layers|gating)$|loss|jitter|output_router|dropout|_implementation$|interleave_moe|moe_dtype|router_dtype/;

/** Whether an unknown key may be one that changes what an MoE block computes. */
export function mayBeBlockKey(key: string): boolean {
  return /expert|moe|rout(e|ing)|topk|swiglu|gating|shared_/.test(key) && !otherKeys.test(key);
}
