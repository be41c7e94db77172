// @ts-check
// What a checkpoint of a model is in llama.cpp's words: its architecture, metadata, and tensors by their names there.
import { countOf } from './rows.mjs';
import { tensorsOf } from './tensors.mjs';

/**
 * @typedef {import('./write.mjs').GgufTensor} GgufTensor
 * @typedef {import('./write.mjs').GgufValue} GgufValue
 * @typedef {import('./write.mjs').GgufTypeName} GgufTypeName
 * @typedef {import('./tensors.mjs').Config} Config
 * @typedef {import('./tensors.mjs').Read} Read
 */

/**
 * @typedef {object} Family
 * @property {string} architecture
 * @property {number} [scores] what makes scores of a router's logits, where a file says so: 1 softmax, 2 sigmoid
 * @property {boolean} [paired] pairs that are rotated stand side by side, and rows of queries and keys are moved so
 * @property {boolean} [postNorm] the second norm is called after what is before it
 */

/** @type {Readonly<Record<string, Family>>} */
const families = {
  mixtral: { architecture: 'llama', paired: true },
  olmoe: { architecture: 'olmoe' },
  qwen2_moe: { architecture: 'qwen2moe' },
  qwen3_moe: { architecture: 'qwen3moe' },
  deepseek_v2: { architecture: 'deepseek2', scores: 1 },
  deepseek_v3: { architecture: 'deepseek2', scores: 2 },
  kimi_k2: { architecture: 'deepseek2', scores: 2 },
  glm4_moe_lite: { architecture: 'deepseek2', scores: 2 },
  glm4_moe: { architecture: 'glm4moe', scores: 2, postNorm: true },
  dots1: { architecture: 'dots1', scores: 2 },
  gpt_oss: { architecture: 'gpt-oss', postNorm: true },
  granitemoe: { architecture: 'granitemoe', paired: true },
  granitemoeshared: { architecture: 'granitemoe', paired: true },
};

/** Keys of metadata with their types and the keys of config.json that they have their values from. */
const keys = /** @type {const} */ ([
  ['vocab_size', 'u32', 'vocab_size'],
  ['context_length', 'u32', 'max_position_embeddings'],
  ['embedding_length', 'u32', 'hidden_size'],
  ['block_count', 'u32', 'num_hidden_layers'],
  ['leading_dense_block_count', 'u32', 'first_k_dense_replace'],
  ['feed_forward_length', 'u32', 'intermediate_size'],
  ['embedding_scale', 'f32', 'embedding_multiplier'],
  ['residual_scale', 'f32', 'residual_multiplier'],
  ['logit_scale', 'f32', 'logits_scaling'],
  ['attention.head_count', 'u32', 'num_attention_heads'],
  ['attention.head_count_kv', 'u32', 'num_key_value_heads'],
  ['attention.key_length', 'u32', 'head_dim'],
  ['attention.value_length', 'u32', 'head_dim'],
  ['attention.layer_norm_rms_epsilon', 'f32', 'rms_norm_eps'],
  ['attention.scale', 'f32', 'attention_multiplier'],
  ['attention.sliding_window', 'u32', 'sliding_window'],
  ['attention.q_lora_rank', 'u32', 'q_lora_rank'],
  ['attention.kv_lora_rank', 'u32', 'kv_lora_rank'],
  ['expert_count', 'u32', 'num_experts', 'num_local_experts', 'n_routed_experts'],
  ['expert_used_count', 'u32', 'num_experts_per_tok'],
  ['expert_feed_forward_length', 'u32', 'moe_intermediate_size', 'intermediate_size'],
  ['expert_shared_count', 'u32', 'n_shared_experts'],
  [
    'expert_shared_feed_forward_length',
    'u32',
    'shared_expert_intermediate_size',
    'shared_intermediate_size',
  ],
  ['expert_group_count', 'u32', 'n_group'],
  ['expert_group_used_count', 'u32', 'topk_group'],
  ['expert_weights_scale', 'f32', 'routed_scaling_factor'],
  ['expert_weights_norm', 'bool', 'norm_topk_prob'],
]);

/** @param {Config} config @returns {Record<string, GgufValue | undefined>} */
function rotation(config) {
  const scaling = config['rope_parameters'] ?? config['rope_scaling'] ?? {};
  const kind = scaling.rope_type ?? scaling.type ?? 'default';
  const { factor, original_max_position_embeddings: original } = scaling;
  const base = { 'rope.freq_base': f32(scaling.rope_theta ?? config['rope_theta']) };
  if (kind === 'default') return base;
  if (kind !== 'linear' && kind !== 'yarn')
    throw new Error(`Expected positions of kind default, linear or yarn, got ${kind}`);
  return {
    ...base,
    'rope.scaling.type': ['string', kind],
    'rope.scaling.factor': f32(factor),
    'rope.scaling.original_context_length': original && ['u32', original],
    'rope.scaling.yarn_beta_fast': f32(scaling.beta_fast),
    'rope.scaling.yarn_beta_slow': f32(scaling.beta_slow),
    'rope.scaling.yarn_log_multiplier': f32(scaling.mscale_all_dim && 0.1 * scaling.mscale_all_dim),
  };
}

/** @param {number | undefined} value @returns {GgufValue | undefined} */
const f32 = (value) => (value === undefined ? undefined : ['f32', value]);

/** What latent attention is there: one head of keys, which are latent rows with what is rotated. @param {Config} config @returns {Record<string, GgufValue>} */
function latent({ kv_lora_rank, qk_rope_head_dim, qk_nope_head_dim, v_head_dim }) {
  if (kv_lora_rank === undefined) return {};
  return {
    'attention.head_count_kv': ['u32', 1],
    'attention.key_length': ['u32', kv_lora_rank + qk_rope_head_dim],
    'attention.value_length': ['u32', kv_lora_rank],
    'attention.key_length_mla': ['u32', qk_nope_head_dim + qk_rope_head_dim],
    'attention.value_length_mla': ['u32', v_head_dim],
    'rope.dimension_count': ['u32', qk_rope_head_dim],
  };
}

/** @param {Config} config @param {Family} family @returns {Record<string, GgufValue>} */
function metadataOf(config, { architecture, scores }) {
  const fromConfig = keys.map(([key, type, ...names]) => {
    const value = names.map((name) => config[name]).find((each) => each !== undefined);
    return [key, (value ?? undefined) === undefined ? undefined : [type, value]];
  });
  const part = config['partial_rotary_factor'];
  const all = {
    ...Object.fromEntries(fromConfig),
    ...(part && { 'rope.dimension_count': ['u32', config['head_dim'] * part] }),
    ...rotation(config),
    ...latent(config),
    ...(scores && { expert_gating_func: ['u32', scores] }),
  };
  const known = Object.entries(all).filter(([, value]) => value !== undefined);
  return {
    'general.architecture': ['string', architecture],
    ...Object.fromEntries(known.map(([key, value]) => [`${architecture}.${key}`, value])),
    'tokenizer.ggml.model': ['string', 'none'],
  };
}

/** Vectors and routers are float32 in every file. @param {string} name @param {readonly number[]} shape */
const isMatrix = (name, shape) =>
  shape.length > 1 && !name.endsWith('bias') && !name.endsWith('ffn_gate_inp.weight');

/**
 * A checkpoint as llama.cpp has it. Throws where its positions are of a kind that it does not have.
 *
 * @param {Config} config
 * @param {Read} read tensors by their names in the checkpoint; undefined where there is none
 * @param {GgufTypeName} type of matrices that are given as values
 * @returns {{ metadata: Record<string, GgufValue>, tensors: GgufTensor[] }}
 */
export function ggufModel(config, read, type) {
  const family = families[config['model_type']];
  if (family === undefined)
    throw new Error(
      `Expected \`model_type\` to be one of ${Object.keys(families).join(', ')}, got ${config['model_type']}`,
    );
  const tensors = tensorsOf(read, config, family).map(([name, rows]) => ({
    ...{ name, shape: rows.shape },
    type: rows.type ?? (isMatrix(name, rows.shape) ? type : 'F32'),
    *rows() {
      for (let i = 0; i < countOf(rows); i++) yield rows.row(i);
    },
  }));
  return { metadata: metadataOf(config, family), tensors };
}
