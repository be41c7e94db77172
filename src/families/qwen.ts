// Qwen and its like: softmax scores, a sigmoid for the shared expert.
import * as mlp from './layouts_mlp.js';
import type { ConfigPart, FamilyRow } from './row.js';
import * as r from './rules.js';

const olmoe: ConfigPart = {
  ...r.wide(['num_experts']),
  shared: 0,
  rules: [r.gated, r.dividedIf(false, r.exactSum)],
  sparse: r.everyLayer,
};
const qwen3: ConfigPart = {
  ...olmoe,
  width: r.countOf('moe_intermediate_size'),
  sparse: r.qwenLayers,
};
const qwen2: ConfigPart = {
  ...qwen3,
  shared: r.countOf('shared_expert_intermediate_size'),
  rules: [...qwen3.rules, r.sharedGate],
};
const qwenNext: ConfigPart = {
  ...r.sizes(['num_experts', 512], 10, 512),
  shared: r.countOf('shared_expert_intermediate_size', 512),
  rules: [r.gated, r.dividedIf(true, r.exactSum), r.sharedGate],
  sparse: r.qwenLayers,
};
const qwenOmni: ConfigPart = {
  ...r.sizes(['num_experts', 128], 8, 768),
  shared: 0,
  rules: [r.gated, r.dividedIf(true, r.exactSum)],
  sparse: r.qwenLayers,
};

const real = 'a real file was seen';
const sources = 'sources only';

export const qwenRows: readonly FamilyRow[] = [
  {
    modelTypes: ['qwen2_moe'],
    models: 'Qwen1.5-MoE, Qwen2-57B-A14B',
    evidence: real,
    config: qwen2,
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['qwen3_moe'],
    models: 'Qwen3-30B-A3B, Qwen3-235B-A22B, Qwen3-Coder',
    evidence: real,
    config: qwen3,
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['olmoe'],
    models: 'OLMoE',
    evidence: real,
    config: olmoe,
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['qwen3_next'],
    models: 'Qwen3-Next, Qwen3-Coder-Next',
    evidence: sources,
    config: qwenNext,
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['qwen3_5_moe', 'qwen3_5_moe_text'],
    models: 'Qwen3.5, Qwen3.6',
    evidence: real,
    config: {
      ...qwenNext,
      ...r.sizes(['num_experts', 256], 8, 512),
      rules: [r.gated, r.exactSum, r.sharedGate],
      sparse: r.everyLayer,
    },
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['qwen4_exp', 'qwen4_exp_text'],
    models: 'Qwen4 (experimental)',
    evidence: sources,
    config: { ...qwenNext, sparse: r.everyLayer },
    layouts: [mlp.projections],
    around: 'hyper-connections',
  },
  {
    modelTypes: ['qwen3_vl_moe', 'qwen3_vl_moe_text'],
    models: 'Qwen3-VL-30B-A3B, 235B-A22B',
    evidence: sources,
    config: {
      ...r.sizes(['num_experts', 60], 4, 1408),
      shared: 0,
      rules: [r.gated, r.exactSum],
      sparse: r.qwenLayers,
    },
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['qwen3_omni_moe', 'qwen3_omni_moe_text', 'qwen3_omni_moe_thinker'],
    stack: { name: 'thinker', roots: ['thinker.model.'] },
    models: 'Qwen3-Omni',
    evidence: sources,
    config: { ...qwenOmni, at: ['thinker_config', 'text_config'] },
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['qwen3_omni_moe', 'qwen3_omni_moe_talker_text', 'qwen3_omni_moe_talker'],
    stack: { name: 'talker', roots: ['talker.model.'] },
    models: 'Qwen3-Omni',
    evidence: sources,
    config: {
      ...r.sizes(['num_experts', 128], 8, 384),
      at: ['talker_config', 'text_config'],
      shared: r.countOf('shared_expert_intermediate_size'),
      rules: [r.gated, r.dividedIf(false, r.exactSum), r.sharedGate],
      sparse: r.everyLayer,
    },
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['mellum'],
    models: 'Mellum',
    evidence: sources,
    config: {
      ...r.sizes(['num_experts', 64], 8, 896),
      shared: 0,
      rules: [r.gated, r.dividedIf(true, r.exactSum)],
      sparse: r.kindsElse({}),
    },
    layouts: [mlp.projections],
  },
  {
    modelTypes: ['flex_olmo'],
    models: 'FlexOlmo',
    evidence: sources,
    config: { ...olmoe, ...r.wide(['num_experts', 7], 5, 11008) },
    layouts: [mlp.projections],
  },
];
