// Families whose routers score by sigmoid, with a bias for the choice, and no groups.
import * as layouts from './layouts.js';
import * as mlp from './layouts_mlp.js';
import type { ConfigPart, FamilyRow, Rule, Sparse } from './row.js';
import * as r from './rules.js';

const sources = 'sources only';

/** Sigmoid, bias, and none of DeepSeek-V3's groups. */
const ungrouped = (
  experts: readonly ['num_experts' | 'num_local_experts' | 'moe_num_experts', number],
  chosen: number,
  width: ConfigPart['width'],
  shared: ConfigPart['shared'],
  rules: readonly Rule[],
  sparse: readonly Sparse[],
  activation: Rule = r.gated,
): ConfigPart => ({
  experts: r.countOf(...experts),
  chosen: r.countOf('num_experts_per_tok', chosen),
  width,
  shared,
  rules: [
    activation,
    { set: { useGatingSigmoid: true } },
    r.biasUnlessNone,
    r.alwaysSigmoid,
    ...rules,
  ],
  sparse,
});

export const sigmoidRows: readonly FamilyRow[] = [
  {
    modelTypes: ['minimax_m2'],
    models: 'MiniMax-M2 to M2.7',
    evidence: sources,
    config: ungrouped(
      ['num_local_experts', 256],
      8,
      r.countOf('intermediate_size', 1536),
      0,
      [r.exactSum, r.noSharedMode],
      r.everyLayer,
    ),
    layouts: [layouts.minimax],
  },
  {
    modelTypes: ['minimax_m3_vl', 'minimax_m3_vl_text'],
    models: 'MiniMax-M3',
    evidence: sources,
    config: ungrouped(
      ['num_local_experts', 128],
      4,
      r.countOf('intermediate_size', 3072),
      r.countOf('shared_intermediate_size', 3072),
      [
        ...[r.exactSum, r.scaledBy('routed_scaling_factor', 2)],
        { ignored: 'n_shared_experts' }, // one, of its own width
      ],
      r.kindsElse({ kinds: { key: 'moe_layer_freq', are: [1] } }, {}),
      r.gptOssActivation,
    ),
    layouts: [layouts.minimax],
  },
  {
    modelTypes: ['step3p7', 'step3p5'],
    models: 'Step 3.5 Flash, Step 3.7 Flash',
    evidence: sources,
    config: ungrouped(
      ['moe_num_experts', 288],
      8,
      r.countOf('moe_intermediate_size', 1280),
      r.countOf('share_expert_dim', 1280),
      [
        r.exactSum,
        r.scaledBy('moe_router_scaling_factor', 1),
        {
          set: {
            activationLimit: {
              ...{ key: 'swiglu_limits', element: 'layer', default: 0 },
              ...{ whenNull: null, whenZero: null, neutral: null },
            },
            sharedActivationLimit: {
              ...{ key: 'swiglu_limits_shared', element: 'layer', default: 0 },
              ...{ whenNull: null, whenZero: null },
            },
            activationClamp: 'after',
          },
        },
      ],
      [{ numbers: 'moe_layers_enum' }, { from: 3 }],
    ),
    layouts: [layouts.step],
  },
  {
    modelTypes: ['afmoe'],
    models: 'Arcee Trinity',
    evidence: sources,
    config: ungrouped(
      ['num_experts', 64],
      6,
      r.countOf('moe_intermediate_size', 1408),
      r.shareds(2, 'moe_intermediate_size', 1408),
      [
        r.sumPlus(1e-20),
        r.only('score_func', 'sigmoid', 'Transformers scores by it whatever this says'),
        r.only('route_norm', true, 'Transformers divides whatever this says'),
        r.scaledBy('route_scale', 1),
      ],
      [{ from: { key: 'num_dense_layers', default: 1 } }],
    ),
    layouts: [mlp.afmoe],
  },
  {
    modelTypes: ['hy_v3'],
    models: 'Hy3',
    evidence: sources,
    config: ungrouped(
      ['num_experts', 192],
      8,
      r.countOf('moe_intermediate_size', 1536),
      r.shareds(1, 'moe_intermediate_size', 1536),
      [r.sumPlus(1e-20), r.scaledBy('router_scaling_factor', 2.826), ...r.hunyuanRouter],
      r.kindsElse({ from: 1 }),
    ),
    layouts: [mlp.hyV3],
  },
  {
    modelTypes: ['laguna'],
    models: 'Laguna',
    evidence: sources,
    config: ungrouped(
      ['num_experts', 256],
      8,
      r.countOf('moe_intermediate_size', 512),
      r.countOf('shared_expert_intermediate_size', 512),
      [
        r.exactSum,
        r.scaledBy('moe_routed_scaling_factor', 1),
        r.only('moe_apply_router_weight_on_input', false, 'Transformers refuses it, too'),
        {
          set: { logitSoftCap: { key: 'moe_router_logit_softcapping', default: 0, neutral: 0 } },
        },
      ],
      r.kindsElse({ from: 1 }),
    ),
    layouts: [mlp.laguna],
  },
  {
    modelTypes: ['lfm2_moe'],
    models: 'LFM2-8B-A1B, LFM2-24B-A2B',
    evidence: sources,
    config: ungrouped(
      ['num_experts', 32],
      4,
      r.countOf('moe_intermediate_size', 1792),
      0,
      [r.dividedIf(true, r.sumPlus(1e-6)), r.scaledBy('routed_scaling_factor', 1)],
      [{ from: { key: 'num_dense_layers', default: 2 } }],
    ),
    layouts: [layouts.lfm2],
  },
];
