// Well-known models by what their `config.json` says of sizes: for tables, and for benches of made-up weights.

const mixtral = (sizes: object) => ({
  model_type: 'mixtral',
  ...{ num_local_experts: 8, num_experts_per_tok: 2, num_key_value_heads: 8, vocab_size: 32000 },
  ...{ rms_norm_eps: 1e-5, rope_theta: 1e6, sliding_window: null },
  ...sizes,
});

const qwen2 = (sizes: object) => ({
  model_type: 'qwen2_moe',
  ...{ norm_topk_prob: false, decoder_sparse_step: 1, vocab_size: 151936 },
  ...{ rms_norm_eps: 1e-6, rope_theta: 1e6, use_sliding_window: false },
  ...sizes,
});

const qwen3 = (sizes: object) => ({
  model_type: 'qwen3_moe',
  ...{ num_experts: 128, num_experts_per_tok: 8, norm_topk_prob: true, decoder_sparse_step: 1 },
  ...{ head_dim: 128, num_key_value_heads: 4, vocab_size: 151936, max_position_embeddings: 40960 },
  ...{ rms_norm_eps: 1e-6, rope_theta: 1e6, use_sliding_window: false },
  ...sizes,
});

const latent = {
  ...{ kv_lora_rank: 512, qk_nope_head_dim: 128, qk_rope_head_dim: 64, v_head_dim: 128 },
  ...{ rms_norm_eps: 1e-6, rope_theta: 10000, moe_layer_freq: 1 },
};

const yarn = (factor: number, mscale: number) => ({
  ...{ type: 'yarn', factor, original_max_position_embeddings: 4096 },
  ...{ beta_fast: 32, beta_slow: 1, mscale, mscale_all_dim: mscale },
});

const deepSeekV2 = (sizes: object) => ({
  model_type: 'deepseek_v2',
  ...latent,
  ...{ scoring_func: 'softmax', norm_topk_prob: false, num_experts_per_tok: 6 },
  ...{ n_shared_experts: 2, first_k_dense_replace: 1 },
  ...{ vocab_size: 102400, max_position_embeddings: 163840 },
  ...sizes,
});

const deepSeekV3 = (sizes: object) => ({
  ...latent,
  ...{
    hidden_size: 7168,
    intermediate_size: 18432,
    moe_intermediate_size: 2048,
    q_lora_rank: 1536,
  },
  ...{ num_hidden_layers: 61, n_shared_experts: 1, num_experts_per_tok: 8, norm_topk_prob: true },
  ...{ scoring_func: 'sigmoid', topk_method: 'noaux_tc' },
  ...sizes,
});

const glm4 = (sizes: object) => ({
  model_type: 'glm4_moe',
  ...{ num_attention_heads: 96, num_key_value_heads: 8, head_dim: 128, attention_bias: true },
  ...{
    n_shared_experts: 1,
    num_experts_per_tok: 8,
    norm_topk_prob: true,
    n_group: 1,
    topk_group: 1,
  },
  ...{ partial_rotary_factor: 0.5, rope_theta: 1e6, rms_norm_eps: 1e-5 },
  ...{ vocab_size: 151552, max_position_embeddings: 131072 },
  ...sizes,
});

const gptOss = (sizes: object) => ({
  model_type: 'gpt_oss',
  ...{ hidden_size: 2880, intermediate_size: 2880, num_experts_per_tok: 4, swiglu_limit: 7 },
  ...{ num_attention_heads: 64, num_key_value_heads: 8, head_dim: 64, attention_bias: true },
  ...{ sliding_window: 128, vocab_size: 201088, max_position_embeddings: 131072 },
  ...{ rms_norm_eps: 1e-5, rope_theta: 150000 },
  rope_scaling: {
    ...{ rope_type: 'yarn', factor: 32, beta_fast: 32, beta_slow: 1, truncate: false },
    original_max_position_embeddings: 4096,
  },
  ...sizes,
});

const granite3 = (sizes: object) => ({
  model_type: 'granitemoe',
  ...{ intermediate_size: 512, num_experts_per_tok: 8, num_key_value_heads: 8 },
  ...{ attention_multiplier: 0.015625, embedding_multiplier: 12, residual_multiplier: 0.22 },
  ...{ logits_scaling: 6, tie_word_embeddings: true, rms_norm_eps: 1e-6, rope_theta: 10000 },
  ...{ vocab_size: 49155, max_position_embeddings: 4096 },
  ...sizes,
});

/** By the names that people know them by. */
export const knownModels = {
  'mixtral-8x7b': mixtral({
    ...{ hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32 },
    ...{ num_attention_heads: 32, max_position_embeddings: 32768 },
  }),
  'mixtral-8x22b': mixtral({
    ...{ hidden_size: 6144, intermediate_size: 16384, num_hidden_layers: 56 },
    ...{ num_attention_heads: 48, max_position_embeddings: 65536 },
  }),
  'qwen1.5-moe-a2.7b': qwen2({
    ...{ hidden_size: 2048, intermediate_size: 5632, num_hidden_layers: 24 },
    ...{ moe_intermediate_size: 1408, shared_expert_intermediate_size: 5632 },
    ...{ num_experts: 60, num_experts_per_tok: 4, max_position_embeddings: 8192 },
    ...{ num_attention_heads: 16, num_key_value_heads: 16 },
  }),
  'qwen2-57b-a14b': qwen2({
    ...{ hidden_size: 3584, intermediate_size: 18944, num_hidden_layers: 28 },
    ...{ moe_intermediate_size: 2560, shared_expert_intermediate_size: 20480 },
    ...{ num_experts: 64, num_experts_per_tok: 8, max_position_embeddings: 131072 },
    ...{ num_attention_heads: 28, num_key_value_heads: 4 },
  }),
  'qwen3-30b-a3b': qwen3({
    ...{ hidden_size: 2048, intermediate_size: 6144, moe_intermediate_size: 768 },
    ...{ num_hidden_layers: 48, num_attention_heads: 32 },
  }),
  'qwen3-235b-a22b': qwen3({
    ...{ hidden_size: 4096, intermediate_size: 12288, moe_intermediate_size: 1536 },
    ...{ num_hidden_layers: 94, num_attention_heads: 64 },
  }),
  'olmoe-1b-7b': {
    model_type: 'olmoe',
    ...{ hidden_size: 2048, intermediate_size: 1024, num_hidden_layers: 16 },
    ...{ num_attention_heads: 16, num_key_value_heads: 16, norm_topk_prob: false },
    ...{ num_experts: 64, num_experts_per_tok: 8, vocab_size: 50304 },
    ...{ max_position_embeddings: 4096, rms_norm_eps: 1e-5, rope_theta: 10000 },
  },
  'deepseek-v2-lite': deepSeekV2({
    ...{ hidden_size: 2048, intermediate_size: 10944, moe_intermediate_size: 1408 },
    ...{ num_hidden_layers: 27, num_attention_heads: 16, q_lora_rank: null },
    ...{ n_routed_experts: 64, topk_method: 'greedy', rope_scaling: yarn(40, 707 / 1000) },
  }),
  'deepseek-v2': deepSeekV2({
    ...{ hidden_size: 5120, intermediate_size: 12288, moe_intermediate_size: 1536 },
    ...{ num_hidden_layers: 60, num_attention_heads: 128, q_lora_rank: 1536 },
    ...{ n_routed_experts: 160, topk_method: 'group_limited_greedy', n_group: 8, topk_group: 3 },
    ...{ routed_scaling_factor: 16, rope_scaling: yarn(40, 1) },
  }),
  'deepseek-v3': deepSeekV3({
    model_type: 'deepseek_v3',
    ...{ n_routed_experts: 256, n_group: 8, topk_group: 4, routed_scaling_factor: 2.5 },
    ...{ num_attention_heads: 128, first_k_dense_replace: 3, vocab_size: 129280 },
    ...{ max_position_embeddings: 163840, rope_scaling: yarn(40, 1) },
  }),
  'kimi-k2': deepSeekV3({
    model_type: 'kimi_k2',
    ...{ n_routed_experts: 384, n_group: 1, topk_group: 1, routed_scaling_factor: 2.827 },
    ...{ num_attention_heads: 64, first_k_dense_replace: 1, vocab_size: 163840 },
    ...{ rope_theta: 50000, max_position_embeddings: 131072, rope_scaling: yarn(32, 1) },
  }),
  'glm-4.5': glm4({
    ...{ hidden_size: 5120, intermediate_size: 12288, moe_intermediate_size: 1536 },
    ...{ num_hidden_layers: 92, first_k_dense_replace: 3, n_routed_experts: 160 },
    ...{ routed_scaling_factor: 2.5, use_qk_norm: true },
  }),
  'glm-4.5-air': glm4({
    ...{ hidden_size: 4096, intermediate_size: 10944, moe_intermediate_size: 1408 },
    ...{ num_hidden_layers: 46, first_k_dense_replace: 1, n_routed_experts: 128 },
    ...{ routed_scaling_factor: 1, use_qk_norm: false },
  }),
  dots1: {
    model_type: 'dots1',
    ...{ hidden_size: 4096, intermediate_size: 10944, moe_intermediate_size: 1408 },
    ...{ num_hidden_layers: 62, num_attention_heads: 32, num_key_value_heads: 32 },
    ...{ n_routed_experts: 128, n_shared_experts: 2, num_experts_per_tok: 6, n_group: 1 },
    ...{ topk_group: 1, norm_topk_prob: true, routed_scaling_factor: 2.5 },
    ...{ first_k_dense_replace: 1, sliding_window: null, attention_bias: false },
    ...{ vocab_size: 152064, max_position_embeddings: 32768, rms_norm_eps: 1e-5, rope_theta: 1e7 },
  },
  'gpt-oss-20b': gptOss({ num_hidden_layers: 24, num_local_experts: 32 }),
  'gpt-oss-120b': gptOss({ num_hidden_layers: 36, num_local_experts: 128 }),
  'granite-3.0-1b-a400m': granite3({
    ...{ hidden_size: 1024, num_hidden_layers: 24, num_attention_heads: 16, num_local_experts: 32 },
  }),
  'granite-3.0-3b-a800m': granite3({
    ...{ hidden_size: 1536, num_hidden_layers: 32, num_attention_heads: 24, num_local_experts: 40 },
  }),
} as const satisfies Readonly<Record<string, object>>;

export type KnownModelName = keyof typeof knownModels;
