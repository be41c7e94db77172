// Families whose routers, or whose experts around them, are like nobody else's.
import * as layouts from './layouts.js';
import * as mlp from './layouts_mlp.js';
import type { ConfigPart, FamilyRow, Rule } from './row.js';
import * as r from './rules.js';

const sources = 'sources only';

const gemma: ConfigPart = {
  experts: r.countOf('num_experts'),
  chosen: r.countOf('num_experts_per_tok'),
  width: r.countOf('moe_intermediate_size'),
  shared: 0,
  rules: [
    {
      set: {
        activation: {
          key: 'hidden_act',
          default: 'gelu_pytorch_tanh',
          are: { gelu_pytorch_tanh: 'geglu_tanh', silu: 'swiglu', gelu: 'geglu' },
        },
      },
    },
    r.exactSum,
  ],
  sparse: r.everyLayer,
};
const gemmaAround =
  'the dense block, and the norms before, between and behind; the experts’ row is `pre_feedforward_layernorm_2` of the residual';

const coders = [
  {
    name: 'encoder',
    roots: ['encoder.', 'model.encoder.'],
    layout: layouts.switchEncoder,
    layers: 'num_layers',
    nllbLayers: 'encoder_layers',
    step: 'encoder_sparse_step',
    width: 'encoder_ffn_dim',
  },
  {
    name: 'decoder',
    roots: ['decoder.', 'model.decoder.'],
    layout: layouts.switchDecoder,
    layers: 'num_decoder_layers',
    nllbLayers: 'decoder_layers',
    step: 'decoder_sparse_step',
    width: 'decoder_ffn_dim',
  },
] as const;

const switches = coders.map(
  ({ name, roots, layout, layers, step }): FamilyRow => ({
    modelTypes: ['switch_transformers'],
    stack: { name, roots },
    models: 'Switch Transformers',
    evidence: sources,
    config: {
      hiddenSize: { key: 'd_model' },
      layers: { key: layers },
      experts: r.countOf('num_experts', 8),
      chosen: 1,
      width: r.countOf('d_ff'),
      shared: 0,
      rules: [
        r.notDivided,
        {
          set: {
            activation: { key: 'dense_act_fn', default: 'relu', are: { relu: 'relu' } },
            expertCapacity: { key: 'expert_capacity', default: 64 },
          },
        },
      ],
      sparse: [{ every: { key: step }, remainder: 1 }],
    },
    layouts: [layout],
    around: 'the norm; capacity counts within a sequence: a call for each, or `expertGroupSize`',
  }),
);

const nllbs = coders.map(
  ({ name, roots, nllbLayers, step, width }): FamilyRow => ({
    modelTypes: ['nllb-moe', 'nllb_moe'],
    stack: { name, roots },
    models: 'NLLB-MoE-54B',
    evidence: sources,
    config: {
      hiddenSize: { key: 'd_model' },
      layers: { key: nllbLayers },
      experts: r.countOf('num_experts', 128),
      chosen: 2,
      width: r.countOf(width, 4096),
      shared: 0,
      rules: [
        { set: { activation: { key: 'hidden_act', default: 'relu', are: { relu: 'relu' } } } },
        r.exactSum,
        r.only('second_expert_policy', 'all', 'others choose at random'),
        r.only('moe_eval_capacity_token_fraction', 1, 'with less, choices are dropped'),
        // Both count only where choices are dropped.
        { by: { key: 'normalize_router_prob_before_dropping', default: false }, are: r.either },
        { by: { key: 'batch_prioritized_routing', default: false }, are: r.either },
        // What a share of 1 of the call's tokens is in place of.
        { ignored: 'expert_capacity' },
        {
          set: {
            routedScalingFactor: { key: 'moe_token_dropout', default: 0.2, oneMinus: true },
          },
        },
      ],
      sparse: [{ every: { key: step, default: 4 }, remainder: 'last' }],
    },
    layouts: [layouts.nllb],
  }),
);

/** Cohere's: what an average of routed and shared experts is. */
const combined = (average: readonly Rule[]): readonly Rule[] => [
  {
    by: { key: 'shared_expert_combination_strategy', default: 'average' },
    are: { average, sum: [] },
  },
];

export const otherRows: readonly FamilyRow[] = [
  {
    modelTypes: ['gemma4', 'gemma4_text'],
    models: 'Gemma 4 26B-A4B',
    evidence: sources,
    config: {
      ...gemma,
      rules: [
        {
          by: { key: 'enable_moe_block', default: false },
          are: { true: [] },
          reason: 'without it the model has no MoE layers',
        },
        ...gemma.rules,
      ],
    },
    layouts: [layouts.gemma],
    around: gemmaAround,
  },
  {
    modelTypes: ['diffusion_gemma', 'diffusion_gemma_text'],
    models: 'DiffusionGemma',
    evidence: sources,
    config: { ...gemma, rules: [...gemma.rules, r.only('enable_moe_block', true, 'it is one')] },
    layouts: [layouts.gemma],
    around: gemmaAround,
  },
  {
    modelTypes: ['deepseek_v4'],
    models: 'DeepSeek-V4 Flash, V4 Pro',
    evidence: 'a real file was seen',
    config: {
      experts: r.countOf('n_routed_experts', 256),
      chosen: r.countOf('num_experts_per_tok', 6),
      width: r.countOf('moe_intermediate_size', 2048),
      shared: r.shareds(1, 'moe_intermediate_size', 2048),
      rules: [
        r.gated,
        r.sumPlus(1e-20),
        r.clampedGate,
        r.scaledBy('routed_scaling_factor', 1.5),
        {
          by: { key: 'scoring_func', default: 'sqrtsoftplus' },
          are: {
            sqrtsoftplus: [{ set: { scoreFunction: 'sqrtsoftplus' } }],
            sigmoid: [{ set: { useGatingSigmoid: true } }],
            softmax: [],
          },
        },
        r.only('topk_method', 'noaux_tc', 'models of this type choose by score and bias'),
        r.only('norm_topk_prob', true, 'models of this type divide by the sum'),
        { by: { key: 'expert_dtype', default: 'fp8' }, are: { fp8: [], fp4: [], bf16: [] } },
        {
          layersBelow: { key: 'num_hash_layers', default: 3 },
          are: [{ set: { expertTable: true } }],
          others: [{ set: { balanceViaTopkBias: true } }],
        },
      ],
      sparse: r.everyLayer,
    },
    layouts: [layouts.deepseekV4],
    around: 'hyper-connections',
  },
  {
    modelTypes: ['llama4', 'llama4_text'],
    models: 'Llama 4 Scout, Maverick',
    evidence: sources,
    config: {
      experts: r.countOf('num_local_experts', 16),
      chosen: r.countOf('num_experts_per_tok', 1),
      width: r.countOf('intermediate_size', 8192),
      shared: r.countOf('intermediate_size', 8192),
      rules: [
        r.gated,
        r.notDivided,
        { set: { useGatingSigmoid: true, chooseByLogit: true, weightOnInput: true } },
      ],
      sparse: [
        { numbers: 'moe_layers' },
        { every: { key: 'interleave_moe_layer_step', default: 1 }, remainder: 'last' },
      ],
    },
    layouts: [layouts.llama4],
  },
  {
    modelTypes: ['cohere2_moe'],
    models: 'Command A+',
    evidence: sources,
    config: {
      experts: r.countOf('num_experts', 8),
      chosen: r.countOf('num_experts_per_tok', 2),
      width: r.countOf('intermediate_size'),
      shared: r.shareds(0, 'intermediate_size'),
      rules: [
        r.gated,
        {
          by: { key: 'expert_selection_fn', default: 'softmax' },
          are: {
            softmax: [r.exactSum, { by: { key: 'norm_topk_prob', default: true }, are: r.either }],
            sigmoid: [
              { set: { useGatingSigmoid: true, chooseByLogit: true } },
              r.dividedIf(true, r.exactSum),
            ],
          },
        },
        {
          by: { key: 'n_shared_experts', default: 0, whenNull: 0 },
          are: { 0: combined([]) },
          others: combined([{ set: { routedScalingFactor: 0.5, sharedExpertScale: 0.5 } }]),
        },
      ],
      sparse: r.kindsElse(r.behindFirst(0)),
    },
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['inkling_mm_model', 'inkling_text'],
    models: 'Inkling',
    evidence: sources,
    config: {
      experts: {
        sum: [
          r.countOf('n_routed_experts', 256),
          { key: 'n_shared_experts', default: 2, whenNull: 0 },
        ],
      },
      chosen: {
        sum: [
          r.countOf('num_experts_per_tok', 6),
          { key: 'n_shared_experts', default: 2, whenNull: 0 },
        ],
      },
      width: r.countOf('moe_intermediate_size', 3072),
      shared: 0,
      rules: [
        r.gated,
        r.sigmoidWithBias,
        r.exactSum,
        r.scaledBy('route_scale', 8),
        {
          set: {
            alwaysChosenExpertNum: {
              ...{ key: 'n_shared_experts', default: 2 },
              ...{ whenNull: 0, neutral: 0 },
            },
          },
        },
      ],
      sparse: r.kindsElse({ exceptNumbers: 'dense_mlp_idx' }),
    },
    layouts: [layouts.inkling],
    around: 'a short convolution',
  },
  ...switches,
  ...nllbs,
];
