// DeepSeek-V3, and families that route as it does.
import * as layouts from './layouts.js';
import * as mlp from './layouts_mlp.js';
import type { ConfigPart, FamilyRow, Rule, Sparse } from './row.js';
import * as r from './rules.js';

interface Defaults {
  experts?: number;
  chosen?: number;
  width?: number;
  /** Of `n_shared_experts`. */
  shared: number;
  /** Of `n_group` and `topk_group`. */
  groups?: readonly [number, number];
  normalised: boolean;
  scaling: number;
  excludeMasked?: boolean;
}

/** DeepSeek-V3 and its like: groups are scored by their two best, weights divided by their sum and scaled. */
function deepseekV3(
  by: Defaults,
  sparse: readonly Sparse[],
  changes: Partial<ConfigPart> & { more?: readonly Rule[] } = {},
): ConfigPart {
  const { more = [], ...parts } = changes;
  return {
    experts: r.countOf('n_routed_experts', by.experts),
    chosen: r.countOf('num_experts_per_tok', by.chosen),
    width: r.countOf('moe_intermediate_size', by.width),
    shared: r.shareds(by.shared, 'moe_intermediate_size', by.width),
    rules: [
      r.gated,
      // dots1 writes noaux_tc and means the same.
      {
        by: { key: 'scoring_func', default: 'sigmoid' },
        are: { sigmoid: [], noaux_tc: [] },
      },
      r.only('topk_method', 'noaux_tc', 'models of this type choose by score and bias'),
      r.sigmoidWithBias,
      {
        groups: 'noaux_tc',
        excludeMasked: by.excludeMasked ?? true,
        ...(by.groups && { default: by.groups }),
      },
      r.dividedIf(by.normalised, r.sumPlus(1e-20)),
      r.scaledBy('routed_scaling_factor', by.scaling),
      ...more,
    ],
    sparse,
    ...parts,
  };
}

const one = [1, 1] as const;
const real = 'a real file was seen';
const sources = 'sources only';

export const deepseekRows: readonly FamilyRow[] = [
  {
    modelTypes: ['deepseek_v3', 'kimi_k2', 'kimi_k25'],
    models: 'DeepSeek-V3, R1; Kimi K2 to K2.6',
    evidence: real,
    config: deepseekV3({ shared: 1, normalised: true, scaling: 2.5 }, [r.behindFirst(3)]),
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['deepseek_v32'],
    models: 'DeepSeek-V3.2',
    evidence: sources,
    config: deepseekV3(
      { experts: 256, chosen: 8, shared: 1, groups: [8, 4], normalised: true, scaling: 2.5 },
      r.kindsElse(r.behindFirst(3)),
    ),
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['glm_moe_dsa'],
    models: 'GLM-5, GLM-5.1',
    evidence: sources,
    config: deepseekV3(
      { experts: 256, chosen: 8, shared: 1, groups: one, normalised: true, scaling: 2.5 },
      r.kindsElse(r.behindFirst(3)),
    ),
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['glm4_moe'],
    models: 'GLM-4.5, GLM-4.6, GLM-4.7',
    evidence: real,
    config: deepseekV3({ shared: 1, groups: one, normalised: true, scaling: 1 }, [
      r.behindFirst(1),
    ]),
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['glm4_moe_lite'],
    models: 'GLM-4.7-Flash',
    evidence: sources,
    config: deepseekV3(
      {
        ...{ experts: 64, chosen: 4, width: 1536, shared: 1 },
        ...{ groups: one, normalised: true, scaling: 1.8 },
      },
      r.kindsElse(r.behindFirst(1)),
    ),
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['glm4v_moe', 'glm4v_moe_text'],
    models: 'GLM-4.5V, GLM-4.6V',
    evidence: sources,
    config: deepseekV3(
      {
        ...{ experts: 128, chosen: 8, width: 1408, shared: 1 },
        ...{ groups: one, normalised: true, scaling: 1 },
      },
      [r.behindFirst(1)],
    ),
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['glm5_next', 'glm5_next_text'],
    models: 'GLM-5.3-Flash',
    evidence: sources,
    config: deepseekV3(
      {
        ...{ experts: 288, chosen: 8, width: 2048, shared: 1 },
        ...{ groups: one, normalised: true, scaling: 2.5 },
      },
      r.kindsElse(r.behindFirst(3)),
      { more: [r.clampedGate] },
    ),
    layouts: [mlp.projections],
    around: 'hyper-connections',
  },
  {
    modelTypes: ['hy_v4'],
    models: 'Hy4',
    evidence: sources,
    config: deepseekV3(
      {
        ...{ experts: 256, chosen: 8, width: 768, shared: 1 },
        ...{ groups: one, normalised: true, scaling: 2.827 },
      },
      r.kindsElse({ from: 1 }),
      { more: [r.clampedGate, { set: { sharedActivationLimit: null } }, ...r.hunyuanRouter] },
    ),
    layouts: [mlp.projections],
    around: 'hyper-connections',
  },
  {
    modelTypes: ['dots1'],
    models: 'dots.llm1',
    evidence: real,
    config: deepseekV3({ shared: 0, groups: one, normalised: false, scaling: 1 }, [
      r.behindFirst(0),
    ]),
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['solar_open'],
    models: 'Solar Open 100B',
    evidence: sources,
    config: deepseekV3(
      {
        ...{ experts: 128, chosen: 8, width: 1280, shared: 1 },
        ...{ groups: one, normalised: true, scaling: 1 },
      },
      r.everyLayer,
    ),
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['axk1'],
    models: 'A.X K1',
    evidence: sources,
    config: deepseekV3(
      { experts: 192, chosen: 8, shared: 1, groups: [8, 4], normalised: true, scaling: 2.5 },
      [r.behindFirst(1)],
    ),
    layouts: [mlp.projections],
    around: '`post_mlp_layernorm`, an RMSNorm of the block’s output',
  },
  {
    modelTypes: ['axk2'],
    models: 'A.X K2',
    evidence: sources,
    config: deepseekV3(
      {
        ...{ experts: 128, chosen: 8, width: 512, shared: 1 },
        ...{ groups: one, normalised: true, scaling: 2.5, excludeMasked: false },
      },
      r.kindsElse(r.behindFirst(1)),
    ),
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['mimo_v2_flash'],
    models: 'MiMo-V2-Flash',
    evidence: sources,
    config: deepseekV3(
      {
        ...{ experts: 256, chosen: 8, width: 2048, shared: 0 },
        ...{ groups: one, normalised: true, scaling: 1 },
      },
      r.kindsElse({ from: 1 }),
    ),
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['exaone_moe'],
    models: 'K-EXAONE',
    evidence: sources,
    config: deepseekV3(
      {
        ...{ experts: 64, chosen: 8, width: 1024, shared: 1 },
        ...{ groups: one, normalised: true, scaling: 2.5 },
      },
      r.kindsElse(r.behindFirst(1)),
      { experts: r.countOf('num_experts', 64) },
    ),
    layouts: [mlp.exaone],
  },
  {
    modelTypes: ['kimi_linear'],
    models: 'Kimi-Linear-48B-A3B',
    evidence: sources,
    config: deepseekV3(
      {
        ...{ experts: 256, chosen: 8, width: 1024, shared: 1 },
        ...{ groups: one, normalised: true, scaling: 2.446 },
      },
      r.kindsElse(r.behindFirst(1)),
      { experts: r.countOf('num_experts', 256) },
    ),
    layouts: [layouts.minimax],
  },
  {
    modelTypes: ['nemotron_h', 'nemotron_h_omni'],
    models: 'Nemotron 3 Nano, Super, Ultra',
    evidence: sources,
    config: deepseekV3(
      {
        ...{ experts: 8, chosen: 2, width: 7688, shared: 1 },
        ...{ groups: one, normalised: true, scaling: 1 },
      },
      [
        { kinds: { key: 'layers_block_type', are: ['moe'] } },
        { kinds: { key: 'hybrid_override_pattern', are: ['E'] } },
        {},
      ],
      {
        shared: {
          times: [
            { key: 'n_shared_experts', default: 1, whenNull: 0 },
            r.countOf('moe_shared_expert_intermediate_size', 7688),
          ],
        },
        more: [
          r.only('mlp_bias', false, 'biases of experts are not read'),
          {
            set: {
              activation: { key: 'mlp_hidden_act', default: 'relu2', are: { relu2: 'relu2' } },
              latentSize: { key: 'moe_latent_size', default: 0, whenZero: null, neutral: null },
            },
          },
        ],
      },
    ),
    layouts: [layouts.nemotron],
  },
];
