// Every family of whole models, in its variants. What attention is, is written down beside the keys that say it.

import { vector } from '../families/spelling.js';
import {
  linearRope,
  llama3Rope,
  longRope,
  plainRope,
  yarnGrowth,
  yarnRope,
} from '../reference/rope.js';
import { type AttentionShape, modelFixture, positions } from './fixture.js';

/** As wide together as a token, one key for all. */
const small = { num_attention_heads: 3, num_key_value_heads: 1 };
/** Heads that are wider together than a token, two to a key. */
const wide = { num_attention_heads: 4, num_key_value_heads: 2, head_dim: 6 };
const ofSmall = { kind: 'grouped', heads: 3, kvHeads: 1, size: 4, scale: 0.5 } as const;
const ofWide = { kind: 'grouped', heads: 4, kvHeads: 2, size: 6, scale: 6 ** -0.5 } as const;
const norm = 'each' as const;

/** The number of key heads means nothing. */
const ofLatentKeys = ['num_key_value_heads'];
const latentKeys = {
  ...{ num_attention_heads: 3, num_key_value_heads: 3, kv_lora_rank: 7 },
  ...{ qk_nope_head_dim: 5, qk_rope_head_dim: 8, v_head_dim: 6 },
};
const ofLatent = {
  ...{ kind: 'latent', heads: 3, nope: 5, rotated: 8, valueSize: 6, latent: 7 },
  scale: 13 ** -0.5,
} as const;
const latent = (shape: Partial<AttentionShape> & Pick<AttentionShape, 'rope'>) => () =>
  ({ ...ofLatent, ...shape }) as AttentionShape;

/** The description that DeepSeek's models have, with numbers that few positions show. */
const deepseekYarn = {
  ...{ type: 'yarn', factor: 4, original_max_position_embeddings: 32 },
  ...{ beta_fast: 3, beta_slow: 0.5, truncate: false },
};
const ofDeepseekYarn = { factor: 4, original: 32, fast: 3, slow: 0.5, truncate: false };
/** What a family's class takes for keys of rope that are left out. */
const theta = ['rope_theta'];

export const modelFixtures = [
  modelFixture({
    block: 'mixtral, w1, w2, w3',
    about: 'as published',
    keys: { ...small, rope_theta: 1e6, sliding_window: null, head_dim: null },
    attention: () => ({ ...ofSmall, rope: plainRope(4, 1e6) }),
    atDefault: [...theta, 'sliding_window', 'head_dim'],
    more: { 'model.layers.0.self_attn.rotary_emb.inv_freq': vector([1, 0.01]) },
  }),
  modelFixture({
    block: 'mixtral, fused under mlp',
    about: 'windows, linear positions, wide heads',
    keys: {
      ...wide,
      ...{ sliding_window: 5, rope_theta: 500 },
      rope_scaling: { type: 'linear', factor: 2.5 },
    },
    attention: () => ({ ...ofWide, window: 5, rope: linearRope(6, 500, 2.5) }),
  }),
  modelFixture({
    block: 'qwen2_moe, per expert',
    about: 'biases',
    keys: { ...small, rope_theta: 500, use_sliding_window: false, sliding_window: 7 },
    attention: () => ({ ...ofSmall, bias: true, rope: plainRope(4, 500) }),
    atDefault: ['use_sliding_window'],
    ignored: ['sliding_window'],
  }),
  modelFixture({
    block: 'qwen2_moe, fused, normalised',
    about: 'no biases, windows by type, llama3 positions',
    atDefault: ['num_key_value_heads'],
    keys: {
      ...{ ...small, num_key_value_heads: 3, qkv_bias: false, rope_theta: undefined },
      ...{ use_sliding_window: true, sliding_window: 7 },
      layer_types: ['full_attention', 'sliding_attention', 'full_attention'],
      rope_parameters: {
        ...{ rope_type: 'llama3', rope_theta: 300, factor: 4 },
        ...{ low_freq_factor: 0.25, high_freq_factor: 9 },
        original_max_position_embeddings: 48,
      },
    },
    attention: (layer) => ({
      ...{ ...ofSmall, kvHeads: 3, ...(layer === 1 && { window: 7 }) },
      rope: llama3Rope(4, 300, { factor: 4, low: 0.25, high: 9, original: 48 }),
    }),
  }),
  modelFixture({
    block: 'qwen2_moe, per expert',
    about: 'windows of even layers below a border',
    keys: {
      ...small,
      rope_theta: 500,
      use_sliding_window: true,
      sliding_window: 7,
      max_window_layers: 2,
    },
    attention: (layer) => ({
      ...{ ...ofSmall, bias: true, rope: plainRope(4, 500) },
      ...(layer === 0 && { window: 7 }),
    }),
  }),
  modelFixture({
    block: 'qwen3_moe, per expert',
    about: 'yarn, norms of heads',
    keys: {
      ...{ ...wide, rope_theta: 200, use_qk_norm: true },
      rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 36 },
    },
    attention: () => ({ ...ofWide, norm, rope: yarnRope(6, 200, { factor: 4, original: 36 }) }),
    atDefault: ['use_qk_norm'],
    ignored: ['max_position_embeddings'],
  }),
  modelFixture({
    block: 'qwen3_moe, as Transformers names the keys',
    about: 'windows, biases, a tied head',
    keys: {
      ...{ ...wide, head_dim: 4, rope_theta: 500, attention_bias: true },
      ...{ use_sliding_window: true, sliding_window: 20 },
    },
    attention: () => ({
      ...{ ...ofWide, size: 4, scale: 0.5, norm, bias: true, outputBias: true },
      ...{ window: 20, rope: plainRope(4, 500) },
    }),
    tied: true,
  }),
  modelFixture({
    block: 'olmoe, per expert',
    about: 'norms of rows, clipped, long factors',
    keys: {
      ...{ ...small, num_key_value_heads: 3, clip_qkv: 0.75, rope_theta: 500 },
      rope_scaling: {
        ...{ type: 'longrope', short_factor: [1.25, 2], long_factor: [3, 5] },
        original_max_position_embeddings: 80,
      },
    },
    attention: () => ({
      ...{ ...ofSmall, kvHeads: 3, norm: 'whole', clip: 0.75 },
      rope: longRope(4, 500, [1.25, 2], { factor: positions / 80, original: 80 }),
    }),
    options: { contextLength: 80 },
    atDefault: ['num_key_value_heads'],
    ignored: ['long_factor'],
  }),
  modelFixture({
    block: 'olmoe, per expert',
    about: 'biases',
    keys: { ...small, clip_qkv: null, attention_bias: true, rope_scaling: null },
    attention: () => ({
      ...{ ...ofSmall, norm: 'whole', bias: true, outputBias: true },
      rope: plainRope(4, 10000),
    }),
    atDefault: [...theta, 'clip_qkv', 'rope_scaling'],
  }),
  modelFixture({
    block: 'deepseek_v2, the best groups by their best expert',
    about: 'queries of tokens, yarn',
    keys: {
      ...{ ...latentKeys, q_lora_rank: null, rope_theta: 30 },
      rope_scaling: { ...deepseekYarn, mscale: 0.7, mscale_all_dim: 0.7 },
    },
    attention: latent({
      ...{ interleaved: true, scale: 13 ** -0.5 * yarnGrowth(4, 0.7) ** 2 },
      rope: yarnRope(8, 30, { ...ofDeepseekYarn, attention: 1 }),
    }),
    ignored: [...ofLatentKeys, 'max_position_embeddings'],
  }),
  modelFixture({
    block: 'deepseek_v2, all groups',
    about: 'queries of latent rows, biases',
    keys: { ...latentKeys, q_lora_rank: 8, attention_bias: true, rope_theta: 500 },
    attention: latent({
      ...{ queryLatent: 8, bias: true, interleaved: true },
      rope: plainRope(8, 500),
    }),
    ignored: ofLatentKeys,
  }),
  modelFixture({
    block: 'deepseek_v3, per expert, groups, a layer for further tokens',
    about: 'yarn',
    keys: {
      ...{ ...latentKeys, q_lora_rank: 8, rope_theta: 30 },
      rope_scaling: { ...deepseekYarn, mscale: 1, mscale_all_dim: 1 },
    },
    attention: latent({
      ...{ queryLatent: 8, interleaved: true, scale: 13 ** -0.5 * yarnGrowth(4, 1) ** 2 },
      rope: yarnRope(8, 30, { ...ofDeepseekYarn, attention: 1 }),
    }),
    ignored: [...ofLatentKeys, 'max_position_embeddings'],
  }),
  modelFixture({
    block: 'deepseek_v3, fused, unnormalised, two shared experts',
    about: 'halves, biases, yarn by two scales',
    keys: {
      ...{ ...latentKeys, q_lora_rank: 8, rope_interleave: false, attention_bias: true },
      rope_parameters: { ...deepseekYarn, rope_theta: 30, mscale: 0.5, mscale_all_dim: 0.8 },
      rope_theta: undefined,
    },
    attention: latent({
      ...{ queryLatent: 8, bias: true, scale: 13 ** -0.5 * yarnGrowth(4, 0.8) ** 2 },
      rope: yarnRope(8, 30, {
        ...ofDeepseekYarn,
        attention: yarnGrowth(4, 0.5) / yarnGrowth(4, 0.8),
      }),
    }),
    ignored: [...ofLatentKeys, 'max_position_embeddings'],
  }),
  modelFixture({
    block: 'kimi_k2, per expert',
    about: 'as published',
    keys: { ...latentKeys, q_lora_rank: 8, rope_theta: 500, rope_interleave: true },
    attention: latent({ queryLatent: 8, interleaved: true, rope: plainRope(8, 500) }),
    atDefault: ['rope_interleave'],
    ignored: ofLatentKeys,
  }),
  modelFixture({
    block: 'glm4_moe_lite, per expert, a layer for further tokens',
    about: 'as published',
    keys: {
      ...{ ...latentKeys, q_lora_rank: 8, rope_theta: undefined },
      ...{ head_dim: 8, qk_head_dim: 13 },
      rope_parameters: { rope_type: 'default', rope_theta: 500 },
    },
    attention: latent({ queryLatent: 8, interleaved: true, rope: plainRope(8, 500) }),
    atDefault: ['rope_type', 'head_dim', 'qk_head_dim', 'mlp_layer_types'],
    ignored: ofLatentKeys,
  }),
  modelFixture({
    block: 'glm4_moe, per expert, a layer for further tokens',
    about: 'half of each head rotated, norms, biases but of the output',
    keys: {
      ...{ ...wide, head_dim: 8, rope_theta: 500 },
      ...{ attention_bias: true, use_qk_norm: true, partial_rotary_factor: 0.5 },
    },
    attention: () => ({
      ...{ ...ofWide, size: 8, scale: 8 ** -0.5, bias: true, norm },
      rope: plainRope(4, 500),
    }),
    atDefault: ['partial_rotary_factor', 'first_k_dense_replace'],
  }),
  modelFixture({
    block: 'glm4_moe, fused, groups',
    about: 'three quarters rotated',
    keys: {
      ...{ ...wide, head_dim: 8, rope_theta: undefined },
      rope_parameters: { rope_type: 'default', rope_theta: 500, partial_rotary_factor: 0.75 },
    },
    attention: () => ({ ...ofWide, size: 8, scale: 8 ** -0.5, rope: plainRope(6, 500) }),
    atDefault: ['rope_type', 'first_k_dense_replace'],
  }),
  modelFixture({
    block: 'dots1, per expert, unnormalised',
    about: 'windows of the last layers, positions by type',
    keys: {
      ...{ ...wide, sliding_window: 11, max_window_layers: 1, rope_theta: undefined },
      ...{ use_sliding_window: false },
      rope_parameters: {
        full_attention: { rope_type: 'linear', rope_theta: 900, factor: 3 },
        sliding_attention: { rope_type: 'default', rope_theta: 100 },
      },
    },
    attention: (layer) => ({
      ...{ ...ofWide, norm, rope: layer === 0 ? linearRope(6, 900, 3) : plainRope(6, 100) },
      ...(layer > 0 && { window: 11 }),
    }),
    atDefault: ['use_sliding_window', 'sliding_attention.rope_type'],
  }),
  modelFixture({
    block: 'gpt_oss, fused, transposed, interleaved',
    about: 'sinks, windows, yarn by default',
    keys: {
      ...{ ...wide, rope_theta: 150000, max_position_embeddings: 131072, sliding_window: 9 },
    },
    attention: (layer) => ({
      ...{ ...ofWide, bias: true, outputBias: true, sinks: true },
      ...(layer !== 1 && { window: 9 }),
      rope: yarnRope(6, 150000, { factor: 32, original: 4096, truncate: false }),
    }),
    atDefault: theta,
  }),
  modelFixture({
    block: 'gpt_oss, fused, transposed, interleaved',
    about: 'no biases, windows by type, plain positions',
    keys: {
      ...{ ...wide, attention_bias: false, sliding_window: 9, rope_theta: 500 },
      layer_types: ['full_attention', 'sliding_attention', 'sliding_attention'],
      rope_parameters: { rope_type: 'default' },
    },
    attention: (layer) => ({
      ...{ ...ofWide, sinks: true, rope: plainRope(6, 500) },
      ...(layer !== 0 && { window: 9 }),
    }),
    atDefault: ['rope_type'],
  }),
  modelFixture({
    block: 'granitemoe, fused',
    about: 'factors, a tied head',
    keys: {
      ...{ ...small, rope_theta: 500, attention_multiplier: 0.3 },
      ...{ embedding_multiplier: 3, residual_multiplier: 0.4, logits_scaling: 2.5 },
    },
    attention: () => ({ ...ofSmall, scale: 0.3, rope: plainRope(4, 500) }),
    decoder: { embeddingFactor: 3, residualFactor: 0.4, logitsDivisor: 2.5 },
    tied: true,
  }),
  modelFixture({
    block: 'granitemoeshared, fused',
    about: 'biases, no factors',
    keys: { ...small, rope_theta: 500, attention_bias: true, attention_multiplier: 1 },
    attention: () => ({
      ...{ ...ofSmall, scale: 1, bias: true, outputBias: true },
      rope: plainRope(4, 500),
    }),
    atDefault: ['attention_multiplier'],
  }),
];
