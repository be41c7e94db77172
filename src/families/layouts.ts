import type { ExpertsAt, Layout, MatrixAt, VectorAt } from './layout.js';
import {
  alternating,
  eachOrFused,
  expertsOf,
  fused,
  halves,
  matrix,
  numbered,
  projected,
  three,
} from './layout_parts.js';

export const mixtral: Layout = {
  name: '`block_sparse_moe.experts.{e}.w1`, `w3`, `w2`',
  router: matrix('block_sparse_moe.gate.weight'),
  experts: eachOrFused('block_sparse_moe', numbered),
};

export const minimax: Layout = {
  ...mixtral,
  name: '`block_sparse_moe.experts.{e}.w1`, `w3`, `w2` and `e_score_correction_bias`',
  choiceBias: [
    { name: 'block_sparse_moe.e_score_correction_bias' },
    { name: 'block_sparse_moe.gate.e_score_correction_bias' },
  ],
  shared: [three('block_sparse_moe.shared_experts', projected)],
};

export const jamba: Layout = {
  name: '`feed_forward.experts.{e}.gate_proj`, `up_proj`, `down_proj`, `feed_forward.router`',
  router: matrix('feed_forward.router.weight'),
  experts: [three(expertsOf('feed_forward'), projected)],
  beside: ['pre_ff_layernorm.'],
};

export const lfm2: Layout = {
  name: '`feed_forward.experts.{e}.w1`, `w3`, `w2`, `feed_forward.expert_bias`',
  router: matrix('feed_forward.gate.weight'),
  choiceBias: [{ name: 'feed_forward.expert_bias' }],
  experts: eachOrFused('feed_forward', numbered),
  beside: ['operator_norm.'],
};

export const llama4: Layout = {
  name:
    '`feed_forward.experts.gate_up_proj`, `down_proj`, transposed; or, quantised, `experts.{e}.gate_proj`, `up_proj`, ' +
    '`down_proj`',
  router: matrix('feed_forward.router.weight'),
  experts: [
    halves('feed_forward.experts.gate_up_proj', 'feed_forward.experts.down_proj', 'eio'),
    three(expertsOf('feed_forward'), projected),
  ],
  shared: [three('feed_forward.shared_expert', projected)],
};

export const aria: Layout = {
  name: '`mlp.experts.fc1`, `fc2`, transposed',
  router: matrix('mlp.router.weight'),
  experts: [halves('mlp.experts.fc1.weight', 'mlp.experts.fc2.weight', 'eio')],
  shared: [three('mlp.shared_experts', projected)],
};

/** GGUF files have the matrices by themselves. */
const graniteShared = [
  halves('shared_mlp.input_linear.weight', 'shared_mlp.output_linear.weight', 'oi'),
  three('shared_mlp', projected),
];

/** A shared expert stands beside the block. Quantising tools write each expert by itself. */
export const granite: Layout = {
  name: '`block_sparse_moe.input_linear`, `output_linear`, or `experts.{e}.gate_proj`, `up_proj`, `down_proj`; `shared_mlp.input_linear`, `output_linear`',
  router: matrix('block_sparse_moe.router.layer.weight'),
  experts: [
    halves('block_sparse_moe.input_linear.weight', 'block_sparse_moe.output_linear.weight', 'eoi'),
    three(expertsOf('block_sparse_moe'), projected),
  ],
  shared: graniteShared,
};

export const graniteSwa: Layout = {
  name: '`block_sparse_moe.experts.gate_up_proj`, `down_proj`; `shared_mlp.input_linear`, `output_linear`',
  router: matrix('block_sparse_moe.router.weight'),
  experts: fused('block_sparse_moe'),
  shared: graniteShared,
};

export const jetmoe: Layout = {
  name: '`mlp.input_linear`, `output_linear`, `mlp.bias`',
  router: matrix('mlp.router.layer.weight'),
  outputBias: 'mlp.bias',
  experts: [halves('mlp.input_linear.weight', 'mlp.output_linear.weight', 'eoi')],
};

export const dbrx: Layout = {
  name: '`ffn.experts.mlp.w1`, `v1`, `w2`, all experts in one matrix each',
  router: matrix('ffn.router.layer.weight'),
  experts: [
    {
      gate: { name: 'ffn.experts.mlp.w1', axes: '(eo)i' },
      up: { name: 'ffn.experts.mlp.v1', axes: '(eo)i' },
      down: { name: 'ffn.experts.mlp.w2', axes: '(ei)o' },
    },
  ],
  beside: ['norm_attn_norm.'],
};

const gptOssBiases = (gate: VectorAt['part'], up: VectorAt['part']) => ({
  gateBias: { name: 'mlp.experts.gate_up_proj_bias', part: gate as NonNullable<typeof gate> },
  upBias: { name: 'mlp.experts.gate_up_proj_bias', part: up as NonNullable<typeof up> },
  downBias: { name: 'mlp.experts.down_proj_bias' },
});
const gptOssExperts = alternating('mlp.experts.gate_up_proj', 'mlp.experts.down_proj', 'eio');
const inMxfp4 = (at: MatrixAt): MatrixAt => ({ ...at, axes: 'eoi', mxfp4: true });

/** In 16-bit floats or in MXFP4. */
export const gptOss: Layout = {
  name: '`mlp.experts.gate_up_proj`, `down_proj` with biases, gate and up interleaved; or in MXFP4',
  router: matrix('mlp.router.weight'),
  routerBias: { name: 'mlp.router.bias' },
  experts: [
    { ...gptOssExperts, ...gptOssBiases('even', 'odd') },
    {
      gate: inMxfp4(gptOssExperts.gate),
      up: inMxfp4(gptOssExperts.up),
      down: inMxfp4(gptOssExperts.down),
      ...gptOssBiases('even', 'odd'),
    },
    {
      ...three(expertsOf('mlp'), projected),
      gateBias: { name: 'mlp.experts.{e}.gate_proj.bias' },
      upBias: { name: 'mlp.experts.{e}.up_proj.bias' },
      downBias: { name: 'mlp.experts.{e}.down_proj.bias' },
    },
  ],
  activation: 'swiglu_oai',
};

export const privacyFilter: Layout = {
  ...gptOss,
  name: '`mlp.experts.gate_up_proj`, `down_proj` with biases, gate and up one behind the other',
  experts: [
    {
      ...halves('mlp.experts.gate_up_proj', 'mlp.experts.down_proj', 'eio'),
      ...gptOssBiases('first half', 'second half'),
    },
  ],
};

export const gemma: Layout = {
  name: '`experts.gate_up_proj`, `down_proj` beside `router.proj`, whose row is folded into it',
  router: matrix('router.proj.weight'),
  routerRow: { scale: 'router.scale', norm: 'pre_feedforward_layernorm_2.weight' },
  expertScale: { name: 'router.per_expert_scale' },
  experts: [halves('experts.gate_up_proj', 'experts.down_proj', 'eoi')],
  activation: 'geglu_tanh',
  beside: [
    ...['mlp.', 'layer_scalar', 'per_layer_input_gate.', 'per_layer_projection.'],
    ...['post_per_layer_input_norm.', 'post_feedforward_layernorm_'],
  ],
};

export const nemotron: Layout = {
  name: '`mixer.experts.{e}.up_proj`, `down_proj`',
  router: matrix('mixer.gate.weight'),
  choiceBias: [{ name: 'mixer.gate.e_score_correction_bias' }],
  latentDown: matrix('mixer.fc1_latent_proj.weight'),
  latentUp: matrix('mixer.fc2_latent_proj.weight'),
  experts: [
    {
      up: matrix('mixer.experts.{e}.up_proj.weight'),
      down: matrix('mixer.experts.{e}.down_proj.weight'),
    },
  ],
  shared: [
    {
      up: matrix('mixer.shared_experts.up_proj.weight'),
      down: matrix('mixer.shared_experts.down_proj.weight'),
    },
  ],
  activation: 'relu2',
  beside: ['norm.'],
};

export const step: Layout = {
  name: '`moe.gate_proj`, `up_proj`, `down_proj`, a tensor each for all experts; `share_expert`',
  router: matrix('moe.gate.weight'),
  choiceBias: [{ name: 'moe.router_bias' }],
  experts: [
    {
      gate: { name: 'moe.gate_proj.weight', axes: 'eoi' },
      up: { name: 'moe.up_proj.weight', axes: 'eoi' },
      down: { name: 'moe.down_proj.weight', axes: 'eoi' },
    },
  ],
  shared: [three('share_expert', projected)],
};

export const deepseekV4: Layout = {
  name: '`ffn.experts.{e}.w1`, `w3`, `w2`, `ffn.gate.bias` or `tid2eid`',
  router: matrix('ffn.gate.weight'),
  choiceBias: [{ name: 'ffn.gate.bias' }],
  expertTable: 'ffn.gate.tid2eid',
  experts: [three(expertsOf('ffn'), numbered)],
  shared: [three('ffn.shared_experts', numbered)],
};

export const inkling: Layout = {
  name: '`mlp.experts.w13_weight`, `w2_weight`, gate and up interleaved; shared ones likewise, as further experts',
  router: matrix('mlp.gate.weight'),
  choiceBias: [{ name: 'mlp.gate.bias' }],
  factor: 'mlp.gate.global_scale',
  experts: [alternating('mlp.experts.w13_weight', 'mlp.experts.w2_weight', 'eoi')],
  lastExperts: alternating(
    'mlp.shared_experts.shared_w13_weight',
    'mlp.shared_experts.shared_w2_weight',
    'eoi',
  ),
};

/** Encoder and decoder layers have parts of different numbers. */
const switchAt = (part: string): Layout => ({
  name: `\`layer.${part}.mlp.experts.expert_{e}.wi\`, \`wo\``,
  router: matrix(`layer.${part}.mlp.router.classifier.weight`),
  experts: [
    {
      up: matrix(`layer.${part}.mlp.experts.expert_{e}.wi.weight`),
      down: matrix(`layer.${part}.mlp.experts.expert_{e}.wo.weight`),
    },
  ],
  activation: 'relu',
  beside: ['layer.0.', 'layer.1.EncDecAttention.', 'layer.1.layer_norm.', 'layer.2.layer_norm.'],
});
export const switchEncoder = switchAt('1');
export const switchDecoder = switchAt('2');

export const nllb: Layout = {
  name: '`ffn.experts.expert_{e}.fc1`, `fc2` with biases',
  router: matrix('ffn.router.classifier.weight'),
  experts: [
    {
      up: matrix('ffn.experts.expert_{e}.fc1.weight'),
      upBias: { name: 'ffn.experts.expert_{e}.fc1.bias' },
      down: matrix('ffn.experts.expert_{e}.fc2.weight'),
      downBias: { name: 'ffn.experts.expert_{e}.fc2.bias' },
    },
  ],
  activation: 'relu',
  beside: [
    'ff_layer_norm.',
    'self_attn_layer_norm.',
    'cross_attention.',
    'cross_attention_layer_norm.',
  ],
};

/** Where MindFormers has its blocks. */
const modules = ['feed_forward', 'feed_forward.routed_experts', 'output'];

/**
 * MindFormers' own names. Experts are `ffn.mapping` `[E, H, I]` and `ffn.projection` `[E, I, H]` with biases, two matrices
 * around a tanh GELU; or gated `ffn.w1`, `w3` (up) and `w2` (down), stored `[E, out, in]` by its training code and
 * `[E, in, out]` for grouped products.
 */
export const mindformers: readonly Layout[] = modules.flatMap((module) => {
  const router = {
    router: matrix(`${module}.router.dense.weight`),
    choiceBias: ['router.topk_bias', 'e_score_correction_bias'].map((name) => ({
      name: `${module}.router.${name}`,
    })),
    shared: [three('feed_forward.shared_experts', numbered)],
    sharedRouter: 'feed_forward.shared_experts_gate.weight',
  };
  const gated = (axes: 'eoi' | 'eio'): ExpertsAt => ({
    gate: { name: `${module}.ffn.w1.weight`, axes },
    up: { name: `${module}.ffn.w3.weight`, axes },
    down: { name: `${module}.ffn.w2.weight`, axes },
  });
  const plain: ExpertsAt = {
    up: { name: `${module}.ffn.mapping.weight`, axes: 'eio' },
    upBias: { name: `${module}.ffn.mapping.bias` },
    down: { name: `${module}.ffn.projection.weight`, axes: 'eio' },
    downBias: { name: `${module}.ffn.projection.bias` },
  };
  const name = '`feed_forward.ffn';
  return [
    { ...router, name: `${name}.w1\`, \`w3\`, \`w2\``, experts: [gated('eoi'), gated('eio')] },
    {
      ...router,
      name: `${name}.mapping\`, \`projection\` with biases`,
      experts: [plain],
      activation: 'gelu_tanh',
    },
  ];
});
