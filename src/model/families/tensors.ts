// How whole models name the tensors around their Mixture-of-Experts blocks: one table for all families.
import type { NativeAttentionViews } from '../../binding/model.js';
import type { AttentionParts } from '../attention.js';

/** Sizes of a layer, by the words of the table. */
export interface LayerWidths {
  readonly hidden: number;
  /** Of all heads together: queries, keys, values before the output's projection. */
  readonly queries: number;
  readonly keys: number;
  readonly mixed: number;
  readonly heads: number;
  readonly queryNorm: number;
  readonly keyNorm: number;
  /** `latent`: rows that queries, and keys and values, are made of; with them stand the keys' rotated numbers. */
  readonly queryLatent: number;
  readonly latent: number;
  readonly latentAndRotated: number;
  readonly keysAndValues: number;
  /** A latent row for each head; numbers of a head's query that meet it. */
  readonly latentOfHeads: number;
  readonly nope: number;
}

type Width = keyof LayerWidths;

/** A tensor of a layer: its view, its name in the layer, and its shape: `[out, in]` or `[out]`. */
export interface TensorRow {
  readonly view: keyof NativeAttentionViews;
  readonly name: string;
  readonly out: Width;
  readonly in?: Width;
  /** The part of attention that it belongs to. Absent: every layer has it. */
  readonly when?: keyof AttentionParts;
}

export const groupedTensors: readonly TensorRow[] = [
  { view: 'norm', name: 'input_layernorm.weight', out: 'hidden' },
  { view: 'query', name: 'self_attn.q_proj.weight', out: 'queries', in: 'hidden' },
  { view: 'key', name: 'self_attn.k_proj.weight', out: 'keys', in: 'hidden' },
  { view: 'value', name: 'self_attn.v_proj.weight', out: 'keys', in: 'hidden' },
  { view: 'output', name: 'self_attn.o_proj.weight', out: 'hidden', in: 'mixed' },
  { view: 'queryBias', name: 'self_attn.q_proj.bias', out: 'queries', when: 'bias' },
  { view: 'keyBias', name: 'self_attn.k_proj.bias', out: 'keys', when: 'bias' },
  { view: 'valueBias', name: 'self_attn.v_proj.bias', out: 'keys', when: 'bias' },
  { view: 'outputBias', name: 'self_attn.o_proj.bias', out: 'hidden', when: 'outputBias' },
  { view: 'queryNorm', name: 'self_attn.q_norm.weight', out: 'queryNorm', when: 'norm' },
  { view: 'keyNorm', name: 'self_attn.k_norm.weight', out: 'keyNorm', when: 'norm' },
  { view: 'sinks', name: 'self_attn.sinks', out: 'heads', when: 'sinks' },
];

const down = 'self_attn.kv_a_proj_with_mqa';
export const latentTensors: readonly TensorRow[] = [
  { view: 'norm', name: 'input_layernorm.weight', out: 'hidden' },
  {
    ...{ view: 'query', name: 'self_attn.q_proj.weight' },
    ...{ out: 'queries', in: 'hidden', when: 'plainQuery' },
  },
  {
    ...{ view: 'queryDown', name: 'self_attn.q_a_proj.weight' },
    ...{ out: 'queryLatent', in: 'hidden', when: 'queryLatent' },
  },
  {
    ...{ view: 'queryDownNorm', name: 'self_attn.q_a_layernorm.weight' },
    ...{ out: 'queryLatent', when: 'queryLatent' },
  },
  {
    ...{ view: 'queryUp', name: 'self_attn.q_b_proj.weight' },
    ...{ out: 'queries', in: 'queryLatent', when: 'queryLatent' },
  },
  { view: 'latentDown', name: `${down}.weight`, out: 'latentAndRotated', in: 'hidden' },
  { view: 'latentNorm', name: 'self_attn.kv_a_layernorm.weight', out: 'latent' },
  { view: 'latentUp', name: 'self_attn.kv_b_proj.weight', out: 'keysAndValues', in: 'latent' },
  { view: 'output', name: 'self_attn.o_proj.weight', out: 'hidden', in: 'mixed' },
  { view: 'latentDownBias', name: `${down}.bias`, out: 'latentAndRotated', when: 'bias' },
  { view: 'outputBias', name: 'self_attn.o_proj.bias', out: 'hidden', when: 'outputBias' },
  {
    ...{ view: 'queryDownBias', name: 'self_attn.q_a_proj.bias' },
    ...{ out: 'queryLatent', when: 'queryLatentBias' },
  },
];

/** In place of `latentUp`, where the tensor `keys` is there: of every head what brings queries into latent rows, and values. */
export const splitLatentUp: readonly TensorRow[] = [
  {
    ...{ view: 'latentUpKeys', name: 'self_attn.k_b_proj.weight' },
    ...{ out: 'latentOfHeads', in: 'nope' },
  },
  {
    ...{ view: 'latentUp', name: 'self_attn.v_b_proj.weight' },
    ...{ out: 'mixed', in: 'latent' },
  },
];

/** What stands before attention's and the feed-forward part's rows. */
export const feedForwardNorm = 'post_attention_layernorm.weight';
/** A dense feed-forward part. */
export const denseTensors = {
  gate: 'mlp.gate_proj.weight',
  up: 'mlp.up_proj.weight',
  down: 'mlp.down_proj.weight',
} as const;

/** Outside of layers. */
export const outerTensors = {
  embedding: 'model.embed_tokens.weight',
  norm: 'model.norm.weight',
  head: 'lm_head.weight',
} as const;

/** What stands before a layer's number. */
export const layerRoot = 'model.layers.';

/** Tables that old files hold and that follow from the config. */
export const isTable = (name: string): boolean =>
  /(^|\.)rotary_emb\.(inv_freq|cos_cached|sin_cached)$/.test(name);

/** Scales that a cache of 8 bits was measured to need. */
export const isCacheScale = (name: string): boolean => /\.(q|k|v|kv|prob|output)_scale$/.test(name);

/** Stacks of layers that predict further tokens. */
export const isFurther = (name: string): boolean => /(^|\.)mtp/.test(name);
