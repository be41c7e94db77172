// Models that llama.cpp has too, in its variants of them, with rows of whole blocks. What they compute is written down beside
// their configs, as for those of test/model. Of what the configs could say, llama.cpp passes over: borders of YaRN that are not
// whole numbers (as published ones of gpt-oss), YaRN's two scales where they differ, windows but gpt-oss', clips of OLMoE's
// rows, groups of experts by their best one, an epsilon of latent rows' norms apart from the model's, and whether weights of
// Qwen's and OLMoE's experts are divided by their sum.
import { Values } from '../families/random.js';
import type { Block } from '../families/reference/block.js';
import { openSwiglu, swiglu } from '../families/reference/experts.js';
import type { Matrix } from '../families/reference/numbers.js';
import type { Router } from '../families/reference/routers.js';
import {
  choiceBias,
  fused,
  fusedBiases,
  fusedShared,
  gateOf,
  joined,
  logitBias,
  numbered,
  perExpert,
  router,
  type Spelling,
  shared,
  sharedRouter,
  type Tensors,
  usual,
} from '../families/spelling.js';
import { type AttentionShape, attentionOf, decoderTensors } from '../model/fixture.js';
import { packedExperts, roundedToMxfp4 } from '../model/mxfp4.js';
import type { Decoder, DecoderLayer } from '../reference/decoder.js';
import { linearRope, plainRope, yarnGrowth, yarnRope } from '../reference/rope.js';

const [hidden, inner, experts, chosen, vocabulary] = [64, 32, 8, 3, 64] as const;
export const witnessVocabulary = vocabulary;

/** Values of matrices get smaller where rows get longer, so that scores stay undecided. */
class ScaledValues extends Values {
  override matrix(rows: number, cols: number, range = 0.5) {
    return super.matrix(rows, cols, range * Math.sqrt(12 / cols));
  }
}

interface BlockShape {
  router: Omit<Router, 'weight' | 'K'>;
  choiceBias?: boolean;
  /** Width of the shared expert. */
  shared?: number;
  sharedRouter?: boolean;
  /** gpt-oss' experts, with biases of everything. */
  open?: boolean;
  /** What experts' weights are stored as. */
  stored?: (value: number) => number;
}

export interface WitnessModel {
  name: string;
  config: Record<string, unknown>;
  tensors: Tensors;
  decoder: Decoder;
  /** Whether all weights are float32. */
  exact: boolean;
}

interface ModelShape {
  name: string;
  keys: Record<string, unknown>;
  attention: (layer: number) => AttentionShape;
  block: BlockShape;
  spell: Spelling;
  layers?: number;
  /** Layers before the first with experts. */
  dense?: number;
  tied?: boolean;
  factors?: Pick<Decoder, 'embeddingFactor' | 'residualFactor' | 'logitsDivisor'>;
}

function blockOf(values: Values, shape: BlockShape): Block {
  const { router: routing, open = false, shared: width, choiceBias: chosenBy, stored } = shape;
  const activation = open ? openSwiglu(1.702, 7) : swiglu;
  return {
    router: {
      ...{ K: chosen, weight: values.matrix(experts, hidden, 0.9), ...routing },
      ...(chosenBy && { choiceBias: values.vector(experts, 0.4) }),
      ...(open && { logitBias: values.vector(experts, 0.5) }),
    },
    experts: Array.from({ length: experts }, () => {
      const expert = values.expert(inner, hidden, { biased: open });
      if (stored === undefined) return expert;
      const rounded = (matrix: Matrix) => matrix.map((row) => row.map(stored));
      const { up, down } = expert;
      return { ...expert, gate: rounded(gateOf(expert)), up: rounded(up), down: rounded(down) };
    }),
    activation,
    ...(width !== undefined && {
      shared: {
        ...values.expert(width, hidden, {}),
        activation,
        ...(shape.sharedRouter && { router: values.vector(hidden, 0.2) }),
      },
    }),
  };
}

function witnessModel(shape: ModelShape): WitnessModel {
  const { name, keys, spell, layers: count = 3, dense = 0, tied = false } = shape;
  const values = new ScaledValues(name.length);
  const layers = Array.from({ length: count }, (_, layer): DecoderLayer => {
    const feedForward =
      layer < dense
        ? { dense: values.expert(96, hidden, {}) }
        : { block: blockOf(values, shape.block) };
    return {
      attentionNorm: values.vector(hidden, 0.5, 1),
      attention: attentionOf(values, shape.attention(layer), hidden),
      feedForwardNorm: values.vector(hidden, 0.5, 1),
      feedForward,
    };
  });
  const embedding = values.matrix(vocabulary, hidden, 1.5);
  const config = {
    ...{
      hidden_size: hidden,
      num_hidden_layers: count,
      vocab_size: vocabulary,
      hidden_act: 'silu',
    },
    ...{ max_position_embeddings: 128, rms_norm_eps: 1e-5, rope_theta: 500 },
    ...{ tie_word_embeddings: tied, num_experts_per_tok: chosen },
    ...keys,
  };
  const decoder = {
    ...{ embedding, layers, norm: values.vector(hidden, 0.5, 1), epsilon: config.rms_norm_eps },
    ...{ head: tied ? embedding : values.matrix(vocabulary, hidden), ...shape.factors },
  };
  const blocks = layers.flatMap(({ feedForward }, layer) =>
    'block' in feedForward
      ? Object.entries(spell(feedForward.block, layer)).map(
          ([part, tensor]) => [`model.layers.${layer}.${part}`, tensor] as const,
        )
      : [],
  );
  const tensors = { ...decoderTensors(decoder, tied), ...Object.fromEntries(blocks) };
  return { name, config, tensors, decoder, exact: shape.block.stored === undefined };
}

/** Heads that are together as wide as a token. */
const narrow = { num_attention_heads: 4, num_key_value_heads: 2 };
const ofNarrow = { kind: 'grouped', heads: 4, kvHeads: 2, size: 16, scale: 0.25 } as const;
/** Heads that are wider. */
const wide = { ...narrow, head_dim: 32 };
const ofWide = { ...ofNarrow, size: 32, scale: 32 ** -0.5 } as const;
const latentKeys = {
  ...{ num_attention_heads: 4, num_key_value_heads: 4, kv_lora_rank: 32 },
  ...{ qk_nope_head_dim: 32, qk_rope_head_dim: 16, v_head_dim: 32, rms_norm_eps: 1e-6 },
};
const ofLatent = {
  ...{ kind: 'latent', heads: 4, nope: 32, rotated: 16, valueSize: 32, latent: 32 },
  ...{ interleaved: true, scale: 48 ** -0.5, rope: plainRope(16, 500) },
} satisfies Partial<AttentionShape> as Extract<AttentionShape, { kind: 'latent' }>;
const yarn = { factor: 4, original_max_position_embeddings: 32 };
const yarnOf = (size: number) => yarnRope(size, 500, { factor: 4, original: 32 });

const mlp = usual('mlp');
const gate = router('mlp.gate.weight');
const bias = choiceBias('mlp.gate.e_score_correction_bias');
const sharedExperts = shared('mlp.shared_experts.');
const normalised = { router: { kind: 'softmaxOfAll', normalised: true } } as const;
const unnormalised = { router: { kind: 'softmaxOfAll', normalised: false } } as const;
const sigmoids: BlockShape['router'] = {
  ...{ kind: 'sigmoidWithBias', normalised: true, epsilon: 1e-20, scaling: 1.75 },
};
const qwenKeys = { num_experts: experts, moe_intermediate_size: inner, intermediate_size: 96 };
const deepseekKeys = {
  ...{ n_routed_experts: experts, moe_intermediate_size: inner, intermediate_size: 96 },
  ...{ n_shared_experts: 2, first_k_dense_replace: 1, n_group: 1, topk_group: 1 },
};
const localKeys = { num_local_experts: experts, intermediate_size: inner };
const mixtral = {
  block: normalised,
  spell: joined(
    router('block_sparse_moe.gate.weight'),
    perExpert('block_sparse_moe.experts.{e}.', numbered),
  ),
};
const deepseekV2 = {
  dense: 1,
  block: { router: { kind: 'groupMaximum', scaling: 1.5 }, shared: 2 * inner },
  spell: joined(gate, mlp.perExpert, sharedExperts),
} as const;
const v2Keys = {
  ...{ model_type: 'deepseek_v2', ...deepseekKeys, ...latentKeys, norm_topk_prob: false },
  ...{ topk_method: 'greedy', scoring_func: 'softmax', routed_scaling_factor: 1.5 },
};
const withBias = {
  ...{ dense: 1, block: { router: sigmoids, choiceBias: true, shared: 2 * inner } },
  spell: joined(gate, bias, mlp.perExpert, sharedExperts),
};
const sigmoidKeys = { ...deepseekKeys, routed_scaling_factor: 1.75, norm_topk_prob: true };
const granite = {
  tied: true,
  factors: { embeddingFactor: 3, residualFactor: 0.4, logitsDivisor: 2.5 },
  attention: () => ({ ...ofNarrow, scale: 0.3, rope: plainRope(16, 500) }),
} as const;
const graniteKeys = {
  ...{ ...localKeys, ...narrow, attention_multiplier: 0.3 },
  ...{ embedding_multiplier: 3, residual_multiplier: 0.4, logits_scaling: 2.5 },
};
const graniteSpelling = joined(
  router('block_sparse_moe.router.layer.weight'),
  fused({
    gateUp: 'block_sparse_moe.input_linear.weight',
    down: 'block_sparse_moe.output_linear.weight',
  }),
);

const open = {
  keys: {
    ...{ model_type: 'gpt_oss', ...localKeys, ...wide, sliding_window: 9, swiglu_limit: 7 },
    rope_scaling: { rope_type: 'yarn', ...yarn, truncate: true },
  },
  attention: (layer: number) => ({
    ...{ ...ofWide, bias: true, outputBias: true, sinks: true, rope: yarnOf(32) },
    ...(layer % 2 === 0 && { window: 9 }),
  }),
};
const openParts = joined(
  ...[router('mlp.router.weight'), logitBias('mlp.router.bias')],
  fusedBiases('mlp.experts.gate_up_proj_bias', 'mlp.experts.down_proj_bias', true),
);

export const witnessModels: readonly WitnessModel[] = [
  witnessModel({
    ...{ ...mixtral, name: 'mixtral' },
    keys: { model_type: 'mixtral', ...localKeys, ...narrow, sliding_window: null },
    attention: () => ({ ...ofNarrow, rope: plainRope(16, 500) }),
  }),
  witnessModel({
    ...{ ...mixtral, name: 'mixtral, linear positions' },
    keys: {
      ...{ model_type: 'mixtral', ...localKeys, ...narrow, sliding_window: null },
      rope_scaling: { type: 'linear', factor: 2.5 },
    },
    attention: () => ({ ...ofNarrow, rope: linearRope(16, 500, 2.5) }),
  }),
  witnessModel({
    name: 'olmoe',
    keys: {
      ...{ model_type: 'olmoe', num_experts: experts, intermediate_size: inner },
      ...{ ...narrow, num_key_value_heads: 4, norm_topk_prob: false },
    },
    attention: () => ({ ...ofNarrow, kvHeads: 4, norm: 'whole', rope: plainRope(16, 500) }),
    ...{ block: unnormalised, spell: joined(gate, mlp.perExpert) },
  }),
  witnessModel({
    name: 'qwen2_moe',
    keys: {
      ...{ model_type: 'qwen2_moe', ...qwenKeys, ...narrow, norm_topk_prob: false },
      shared_expert_intermediate_size: 96,
    },
    attention: () => ({ ...ofNarrow, bias: true, rope: plainRope(16, 500) }),
    block: { ...unnormalised, shared: 96, sharedRouter: true },
    spell: joined(
      ...[gate, mlp.perExpert, shared('mlp.shared_expert.')],
      sharedRouter('mlp.shared_expert_gate.weight'),
    ),
  }),
  witnessModel({
    name: 'qwen3_moe',
    keys: { model_type: 'qwen3_moe', ...qwenKeys, ...wide, norm_topk_prob: true },
    attention: () => ({ ...ofWide, norm: 'each', rope: plainRope(32, 500) }),
    ...{ block: normalised, spell: joined(gate, mlp.perExpert) },
  }),
  witnessModel({
    name: 'qwen3_moe, yarn',
    keys: {
      ...{ model_type: 'qwen3_moe', ...qwenKeys, ...wide, norm_topk_prob: true },
      rope_scaling: { rope_type: 'yarn', ...yarn },
    },
    attention: () => ({ ...ofWide, norm: 'each', rope: yarnOf(32) }),
    ...{ block: normalised, spell: joined(gate, mlp.perExpert) },
  }),
  witnessModel({
    name: 'deepseek_v2',
    keys: { ...v2Keys, q_lora_rank: 32 },
    attention: () => ({ ...ofLatent, queryLatent: 32 }),
    ...deepseekV2,
  }),
  witnessModel({
    name: 'deepseek_v2, queries of tokens, yarn',
    // By which llama.cpp knows that queries are of tokens.
    layers: 27,
    keys: {
      ...{ ...v2Keys, q_lora_rank: null },
      rope_scaling: { type: 'yarn', ...yarn, mscale: 0.7, mscale_all_dim: 0.7 },
    },
    attention: () => ({
      ...{ ...ofLatent, scale: 48 ** -0.5 * yarnGrowth(4, 0.7) ** 2 },
      rope: yarnRope(16, 500, { factor: 4, original: 32, attention: 1 }),
    }),
    ...deepseekV2,
  }),
  witnessModel({
    ...{ ...withBias, name: 'deepseek_v3, groups, yarn' },
    keys: {
      ...{ model_type: 'deepseek_v3', ...sigmoidKeys, ...latentKeys, q_lora_rank: 32 },
      ...{ n_group: 4, topk_group: 2, topk_method: 'noaux_tc', scoring_func: 'sigmoid' },
      rope_scaling: { type: 'yarn', ...yarn, mscale: 1, mscale_all_dim: 1 },
    },
    attention: () => ({
      ...{ ...ofLatent, queryLatent: 32, scale: 48 ** -0.5 * yarnGrowth(4, 1) ** 2 },
      rope: yarnRope(16, 500, { factor: 4, original: 32, attention: 1 }),
    }),
    block: {
      ...withBias.block,
      router: { ...sigmoids, groups: { count: 4, open: 2, masked: Number.NEGATIVE_INFINITY } },
    },
  }),
  witnessModel({
    ...{ ...withBias, name: 'kimi_k2' },
    keys: {
      ...{ model_type: 'kimi_k2', ...sigmoidKeys, ...latentKeys, q_lora_rank: 32 },
      ...{ topk_method: 'noaux_tc', scoring_func: 'sigmoid' },
    },
    attention: () => ({ ...ofLatent, queryLatent: 32 }),
  }),
  witnessModel({
    ...{ ...withBias, name: 'glm4_moe_lite' },
    keys: { model_type: 'glm4_moe_lite', ...sigmoidKeys, ...latentKeys, q_lora_rank: 32 },
    attention: () => ({ ...ofLatent, queryLatent: 32 }),
  }),
  witnessModel({
    ...{ ...withBias, name: 'glm4_moe' },
    keys: {
      ...{ model_type: 'glm4_moe', ...sigmoidKeys, ...wide, use_qk_norm: true },
      ...{ attention_bias: true, partial_rotary_factor: 0.5 },
    },
    attention: () => ({ ...ofWide, bias: true, norm: 'each', rope: plainRope(16, 500) }),
  }),
  witnessModel({
    ...{ ...withBias, name: 'dots1' },
    keys: {
      ...{ model_type: 'dots1', ...sigmoidKeys, ...wide, num_key_value_heads: 4 },
      sliding_window: null,
      ...{ topk_method: 'noaux_tc', scoring_func: 'sigmoid' },
    },
    attention: () => ({ ...ofWide, kvHeads: 4, norm: 'each', rope: plainRope(32, 500) }),
  }),
  witnessModel({
    ...{ ...open, name: 'gpt_oss' },
    block: { router: { kind: 'softmaxOfChosen' }, open: true },
    spell: joined(
      openParts,
      fused({
        ...{ gateUp: 'mlp.experts.gate_up_proj', down: 'mlp.experts.down_proj' },
        ...{ turned: true, interleaved: true },
      }),
    ),
  }),
  witnessModel({
    ...{ ...open, name: 'gpt_oss, MXFP4' },
    keys: { ...open.keys, quantization_config: { quant_method: 'mxfp4' } },
    block: { router: { kind: 'softmaxOfChosen' }, open: true, stored: roundedToMxfp4 },
    spell: joined(openParts, packedExperts),
  }),
  witnessModel({
    ...{ ...granite, name: 'granitemoe' },
    keys: { model_type: 'granitemoe', ...graniteKeys },
    block: { router: { kind: 'softmaxOfChosen' } },
    spell: graniteSpelling,
  }),
  witnessModel({
    ...{ ...granite, name: 'granitemoeshared' },
    keys: { model_type: 'granitemoeshared', ...graniteKeys, shared_intermediate_size: 96 },
    block: { router: { kind: 'softmaxOfChosen' }, shared: 96 },
    spell: joined(
      graniteSpelling,
      fusedShared('shared_mlp.input_linear.weight', 'shared_mlp.output_linear.weight'),
    ),
  }),
];
