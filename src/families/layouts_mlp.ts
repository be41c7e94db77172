import type { Layout, VectorAt } from './layout.js';
import { eachOrFused, expertsOf, matrix, projected, three } from './layout_parts.js';

const correctionBias: readonly VectorAt[] = [{ name: 'mlp.gate.e_score_correction_bias' }];

/** Qwen, OLMoE, DeepSeek, GLM and many after them. */
export const projections: Layout = {
  name: '`mlp.experts.{e}.gate_proj`, `up_proj`, `down_proj`, or fused `mlp.experts.gate_up_proj`, either way round',
  router: matrix('mlp.gate.weight'),
  choiceBias: correctionBias,
  experts: eachOrFused('mlp'),
  // Qwen has one shared expert, DeepSeek calls several side by side `shared_experts`.
  shared: [three('mlp.shared_experts', projected), three('mlp.shared_expert', projected)],
  sharedRouter: 'mlp.shared_expert_gate.weight',
};

const projectionsWith = (changes: Partial<Layout> & { name: string }): Layout => ({
  router: projections.router,
  experts: projections.experts,
  ...changes,
});

export const exaone = projectionsWith({
  name: 'as Qwen, `mlp.e_score_correction_bias`',
  choiceBias: [{ name: 'mlp.e_score_correction_bias' }],
  shared: [three('mlp.shared_experts', projected)],
});

export const laguna = projectionsWith({
  name: 'as Qwen, `mlp.experts.e_score_correction_bias`',
  choiceBias: [{ name: 'mlp.experts.e_score_correction_bias' }],
  shared: [three('mlp.shared_expert', projected)],
});

export const ernie = projectionsWith({
  name: 'as Qwen, `mlp.moe_statics.e_score_correction_bias`',
  choiceBias: [{ name: 'mlp.moe_statics.e_score_correction_bias' }],
  shared: [three('mlp.shared_experts', projected)],
});

/** Text and vision tokens have router, bias and experts of their own, side by side in one layer. */
export const ernieText: Layout = {
  name: 'experts 0 to E - 1 of `mlp.experts.{e}`, `mlp.gate.weight` transposed',
  router: { name: 'mlp.gate.weight', axes: 'io' },
  choiceBias: [{ name: 'mlp.moe_statics.e_score_correction_bias', row: { at: 0, of: 2 } }],
  experts: [three(expertsOf('mlp'), projected)],
  shared: [three('mlp.shared_experts', projected)],
  otherRouter: 'mlp.gate.weight_1',
  beside: ['mlp.experts.{e+E}.'],
};

export const ernieVision: Layout = {
  ...ernieText,
  name: 'experts E to 2E - 1 of `mlp.experts.{e}`, `mlp.gate.weight_1` transposed',
  router: { name: 'mlp.gate.weight_1', axes: 'io' },
  choiceBias: [{ name: 'mlp.moe_statics.e_score_correction_bias', row: { at: 1, of: 2 } }],
  experts: [three('mlp.experts.{e+E}', projected)],
  otherRouter: 'mlp.gate.weight',
  beside: ['mlp.experts.{e}.'],
};

/** `name`: of the shared expert. */
const routerGate = (name: string): Layout =>
  projectionsWith({
    name: `as Qwen, \`mlp.router.gate\`, \`mlp.expert_bias\`, \`mlp.${name}\``,
    router: matrix('mlp.router.gate.weight'),
    choiceBias: [{ name: 'mlp.expert_bias' }],
    shared: [three(`mlp.${name}`, projected)],
  });
export const afmoe = routerGate('shared_experts');
export const hyV3 = routerGate('shared_mlp');

export const hunyuan = projectionsWith({
  name: 'as Qwen, `mlp.gate.wg`, `mlp.shared_mlp`',
  router: matrix('mlp.gate.wg.weight'),
  shared: [three('mlp.shared_mlp', projected)],
});

export const longcat = projectionsWith({
  name: 'as Qwen, `mlp.router.classifier`',
  router: matrix('mlp.router.classifier.weight'),
  choiceBias: [{ name: 'mlp.router.e_score_correction_bias' }],
  // The layer has two dense blocks besides; nothing of the model reads the router's bias.
  beside: ['mlps.', 'mlp.router.classifier.bias'],
});
