// Families whose routers score by softmax.
import * as layouts from './layouts.js';
import * as mlp from './layouts_mlp.js';
import type { ConfigPart, FamilyRow, Rule, Size, Sparse } from './row.js';
import * as r from './rules.js';

const mixtral: ConfigPart = {
  ...r.wide(['num_local_experts']),
  shared: 0,
  rules: [r.gated, r.exactSum],
  sparse: r.everyLayer,
};
const granite: ConfigPart = {
  ...mixtral,
  shared: { key: 'shared_intermediate_size', default: 0 },
};
const deepseekV2Groups = {
  // Configs have the keys of groups whether the method reads them or not.
  greedy: [{ ignored: 'n_group' }, { ignored: 'topk_group' }],
  group_limited_greedy: [{ groups: 'group_limited_greedy', excludeMasked: false }],
} as const satisfies Record<string, readonly Rule[]>;
const deepseekV2: ConfigPart = {
  experts: r.countOf('n_routed_experts'),
  chosen: r.countOf('num_experts_per_tok'),
  width: r.countOf('moe_intermediate_size'),
  shared: r.shareds(2),
  rules: [
    r.gated,
    r.notDivided,
    r.only('scoring_func', 'softmax', 'deepseek_v2 scores by softmax'),
    r.only('norm_topk_prob', false, "Transformers ignores it and the model's own code does not"),
    r.scaledBy('routed_scaling_factor', 1),
    {
      by: { key: 'topk_method', default: 'greedy' },
      are: deepseekV2Groups,
    },
  ],
  sparse: [r.behindFirst(0)],
};

const real = 'a real file was seen';
const sources = 'sources only';

/** In older configs `intermediate_size` is a width that no part of the model has. */
const ariaWidth: Size = {
  firstOf: [{ key: 'moe_intermediate_size' }, { key: 'intermediate_size' }],
};

const mixtrals: readonly FamilyRow[] = [
  {
    modelTypes: ['mixtral'],
    models: 'Mixtral 8x7B, 8x22B',
    evidence: real,
    config: mixtral,
    // Newer Transformers write it as they write Qwen.
    layouts: [layouts.mixtral, mlp.projections],
  },
  {
    modelTypes: ['minimax', 'minimax_text_01', 'minimax_m1'],
    models: 'MiniMax-Text-01, MiniMax-M1',
    evidence: sources,
    config: {
      ...mixtral,
      ...r.wide(['num_local_experts', 8], 2),
      rules: [...mixtral.rules, r.noSharedMode],
    },
    layouts: [layouts.mixtral],
    around: 'residuals behind the norm, `mlp_alpha_factor`, `mlp_beta_factor`',
  },
  {
    modelTypes: ['phimoe'],
    models: 'Phi-3.5-MoE',
    evidence: sources,
    config: {
      ...r.wide(['num_local_experts', 16], 2),
      shared: 0,
      rules: [
        r.gated,
        r.notDivided,
        {
          set: {
            scoreFunction: 'sparsemixer',
            sparsemixerEpsilon: { key: 'router_jitter_noise', default: 0.01 },
          },
        },
      ],
      sparse: r.everyLayer,
    },
    layouts: [layouts.mixtral],
  },
  {
    modelTypes: ['gpt_oss'],
    models: 'gpt-oss-20b, gpt-oss-120b',
    evidence: real,
    config: { ...mixtral, rules: [r.gptOssActivation, r.exactSum] },
    layouts: [layouts.gptOss],
  },
  {
    modelTypes: ['openai_privacy_filter'],
    models: 'OpenAI privacy filter',
    evidence: sources,
    config: {
      ...r.wide(['num_local_experts', 128], 4, 640),
      shared: 0,
      rules: [r.gptOssActivation, r.exactSum],
      sparse: r.everyLayer,
    },
    layouts: [layouts.privacyFilter],
  },
  {
    modelTypes: ['granitemoe', 'granitemoeshared'],
    models: 'Granite 3.0',
    evidence: real,
    config: granite,
    layouts: [layouts.granite],
    around: '`residual_multiplier`',
  },
  {
    modelTypes: ['granitemoehybrid'],
    models: 'Granite 4.0 H',
    evidence: sources,
    config: {
      ...r.wide(['num_local_experts', 8], 2),
      shared: { key: 'shared_intermediate_size', default: 1024 },
      rules: mixtral.rules,
      sparse: r.everyLayer,
    },
    layouts: [layouts.granite],
    around: '`residual_multiplier`',
  },
  {
    modelTypes: ['granitemoe_swa'],
    models: 'Granite with sliding windows',
    evidence: sources,
    config: { ...granite, ...r.wide(['num_local_experts', 8], 2) },
    layouts: [layouts.graniteSwa, layouts.granite],
    around: '`residual_multiplier`',
  },
  {
    modelTypes: ['jetmoe'],
    models: 'JetMoE-8B',
    evidence: sources,
    config: { ...mixtral, ...r.wide(['num_local_experts', 8], 2, 5632) },
    layouts: [layouts.jetmoe],
  },
  {
    modelTypes: ['aria', 'aria_text', 'aria_moe_lm'],
    models: 'Aria',
    evidence: sources,
    config: {
      experts: r.countOf('moe_num_experts', 8),
      chosen: r.countOf('num_experts_per_tok', 2),
      width: ariaWidth,
      shared: { times: [{ key: 'n_shared_experts', default: 2, whenNull: 0 }, ariaWidth] },
      rules: [...mixtral.rules, r.only('mlp_bias', false, 'biases of experts are not read')],
      sparse: r.everyLayer,
    },
    layouts: [layouts.aria],
  },
  {
    modelTypes: ['jamba'],
    models: 'Jamba',
    evidence: sources,
    config: {
      ...r.wide(['num_experts', 16], 2, 14336),
      shared: 0,
      rules: [r.gated, r.notDivided],
      sparse: [
        {
          every: { key: 'expert_layer_period', default: 2 },
          remainder: { key: 'expert_layer_offset', default: 1 },
        },
      ],
    },
    layouts: [layouts.jamba],
  },
  {
    modelTypes: ['dbrx'],
    models: 'DBRX',
    evidence: sources,
    config: {
      merged: 'ffn_config',
      hiddenSize: { key: 'd_model' },
      layers: { key: 'n_layers' },
      experts: r.countOf('moe_num_experts', 4),
      chosen: r.countOf('num_experts_per_tok', 1),
      width: r.countOf('ffn_hidden_size', 3584),
      shared: 0,
      rules: [
        {
          set: {
            activation: {
              key: 'ffn_act_fn',
              member: 'name',
              default: 'silu',
              are: { silu: 'swiglu', gelu: 'geglu' },
            },
          },
        },
        {
          by: { key: 'moe_normalize_expert_weights', default: 1, whenNull: 'null' },
          are: { 1: [r.exactSum], null: [r.notDivided] },
        },
      ],
      sparse: r.everyLayer,
    },
    layouts: [layouts.dbrx],
  },
];

/** `element`: the stack's, where there are several. */
const ernieLayers = (element?: number): Sparse => {
  const ofStack = element === undefined ? {} : { element };
  return {
    from: { key: 'moe_layer_start_index', default: 1, ...ofStack },
    until: { key: 'moe_layer_end_index', default: -1, ...ofStack },
    every: { key: 'moe_layer_interval', default: 1 },
    remainder: 'last',
  };
};

const others: readonly FamilyRow[] = [
  {
    modelTypes: ['hunyuan_v1_moe'],
    models: 'Hunyuan-A13B',
    evidence: sources,
    config: {
      experts: { key: 'num_experts', default: 1, element: 'layer' },
      chosen: { key: 'num_experts_per_tok', default: 1, element: 'layer' },
      width: r.countOf('intermediate_size'),
      shared: r.countOf('intermediate_size'),
      // Its width is `intermediate_size`, whatever the list beside it says: the tensors have to have it.
      rules: [r.gated, r.exactSum, { ignored: 'moe_intermediate_size' }],
      sparse: r.everyLayer,
    },
    layouts: [mlp.hunyuan],
  },
  {
    modelTypes: ['mistral4'],
    models: 'Mistral Small 4',
    evidence: real,
    config: {
      experts: r.countOf('n_routed_experts', 128),
      chosen: r.countOf('num_experts_per_tok', 4),
      width: r.countOf('moe_intermediate_size', 2048),
      shared: r.shareds(1, 'moe_intermediate_size', 2048),
      rules: [
        r.gated,
        { groups: 'noaux_tc', excludeMasked: false, default: [1, 1] },
        r.dividedIf(true, r.sumPlus(1e-20)),
        r.scaledBy('routed_scaling_factor', 1),
      ],
      sparse: [r.behindFirst(0)],
    },
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['ernie4_5_moe'],
    models: 'ERNIE-4.5-21B-A3B, 300B-A47B',
    evidence: sources,
    config: {
      ...r.sizes(['moe_num_experts', 64], 6, 1536),
      shared: r.shareds(2, 'moe_intermediate_size', 1536),
      rules: [r.gated, ...r.ernieRouter],
      sparse: [ernieLayers()],
    },
    layouts: [mlp.ernie],
  },
  ...(['text', 'vision'] as const).map((name, element): FamilyRow => {
    const width = { key: 'moe_intermediate_size', element } as const;
    return {
      modelTypes: ['ernie4_5_vl_moe', 'ernie4_5_vl_moe_text', 'ernie4_5_moe_vl'],
      stack: { name, roots: [] },
      models: 'ERNIE-4.5-VL',
      evidence: sources,
      config: {
        experts: { key: 'moe_num_experts', default: 64, element },
        chosen: r.countOf('num_experts_per_tok', 6),
        width,
        shared: {
          times: [
            { key: 'n_shared_experts', default: 2, whenNull: 0 },
            { key: 'moe_intermediate_size', element: 0 },
          ],
        },
        rules: [r.gated, ...r.ernieRouter],
        sparse: r.kindsElse(ernieLayers(element)),
      },
      layouts: [name === 'text' ? mlp.ernieText : mlp.ernieVision],
      around:
        'which of a call’s tokens are text, which vision; the shared expert is the same in both stacks',
    };
  }),
  {
    modelTypes: ['longcat_flash'],
    models: 'LongCat-Flash',
    evidence: sources,
    config: {
      experts: r.countOf('n_routed_experts', 512),
      chosen: r.countOf('num_experts_per_tok', 12),
      width: r.countOf('moe_intermediate_size', 2048),
      shared: 0,
      rules: [
        r.gated,
        r.notDivided,
        r.only('norm_topk_prob', false, 'models of this type do not divide by the sum'),
        {
          set: {
            balanceViaTopkBias: true,
            zeroExpertNum: { key: 'zero_expert_num', default: 256, neutral: 0 },
          },
        },
        r.scaledBy('routed_scaling_factor', 6),
      ],
      sparse: r.everyLayer,
    },
    layouts: [mlp.longcat],
    around: 'two attentions and two dense blocks',
  },
  {
    modelTypes: ['deepseek_v2'],
    models: 'DeepSeek-V2, V2-Lite',
    evidence: real,
    config: deepseekV2,
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['deepseek_vl_v2'],
    models: 'DeepSeek-VL2; DeepSeek-OCR, OCR 2 as published',
    evidence: sources,
    config: {
      ...deepseekV2,
      at: ['language_config'],
      shared: r.shareds(0),
      rules: [
        r.gated,
        {
          by: { key: 'scoring_func', default: 'softmax' },
          are: { softmax: [], sigmoid: [{ set: { useGatingSigmoid: true } }] },
        },
        {
          by: { key: 'topk_method', default: 'greedy' },
          are: {
            ...deepseekV2Groups,
            noaux_tc: [
              { set: { balanceViaTopkBias: true } },
              { groups: 'noaux_tc', excludeMasked: false },
            ],
          },
        },
        r.dividedIf(false, r.sumPlus(1e-20)),
        r.scaledBy('routed_scaling_factor', 1),
      ],
    },
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['deepseek_ocr2', 'deepseek_ocr2_text'],
    models: 'DeepSeek-OCR 2 as Transformers saves it',
    evidence: sources,
    config: { ...deepseekV2, sparse: r.kindsElse(r.behindFirst(0)) },
    layouts: [mlp.projections],
  },
];

export const softmaxRows: readonly FamilyRow[] = [...mixtrals, ...others];
