// Rows of families as configs are read by them.
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/base/errors.js';
import { MoEConfig } from '../../src/config/config.js';
import { type FieldName, fieldNames } from '../../src/config/fields.js';
import {
  huggingFaceLayerOptions,
  huggingFaceLayers,
  huggingFaceSizes,
} from '../../src/config/hugging_face.js';
import { familyRows, refusedRows } from '../../src/families/families.js';

const sizes = { hidden_size: 8, num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 6 };
const layered = { ...sizes, num_hidden_layers: 6 };

describe('every row', () => {
  test('is plain data', () => {
    expect(JSON.parse(JSON.stringify(familyRows))).toEqual(familyRows);
  });

  test('has model types of its own, but for stacks, and a stack has a name of its own', () => {
    const names = [...familyRows, ...refusedRows].flatMap((row) =>
      row.modelTypes.map((type) => `${type} ${'stack' in row ? row.stack?.name : ''}`),
    );
    expect(new Set(names).size).toBe(names.length);
  });
});

test('the part that a stack is named by is read', () => {
  const omni = {
    model_type: 'qwen3_omni_moe',
    thinker_config: { text_config: sizes },
    talker_config: {
      text_config: { ...sizes, num_experts: 4, shared_expert_intermediate_size: 3 },
    },
  };
  expect(MoEConfig.fromHuggingFace(omni, { stack: 'thinker' }).expertNum).toBe(8);
  expect(MoEConfig.fromHuggingFace(omni, { stack: 'talker' })).toMatchObject({
    expertNum: 4,
    sharedExpertNum: 0.5,
    normTopkProb: false,
  });
  expect(() => MoEConfig.fromHuggingFace(omni)).toThrow(
    "Expected `stack` to be 'thinker' or 'talker', as models of type qwen3_omni_moe have them",
  );
});

test('a list has a value for each layer', () => {
  const config = {
    ...{ model_type: 'hunyuan_v1_moe', hidden_size: 8, intermediate_size: 6 },
    ...{ num_experts: 8, moe_topk: [2, 3] },
  };
  const chosen = (layer: number) => MoEConfig.fromHuggingFace(config, { layer }).numExpertsChosen;
  expect([0, 1].map(chosen)).toEqual([2, 3]);
  expect(() => chosen(2)).toThrow('Expected `moe_topk[2]` to be an integer');
  expect(() => MoEConfig.fromHuggingFace(config)).toThrow('`moe_topk` has a value for each');
});

test('what published configs say beside the keys of the class is read, too', () => {
  const hunyuan = {
    ...{ model_type: 'hunyuan_v1_moe', hidden_size: 8, intermediate_size: 6 },
    ...{ num_experts: 8, moe_topk: [2, 2], moe_intermediate_size: [6, 6] },
  };
  expect(huggingFaceSizes(hunyuan).intermediateSize).toBe(6);
  const longcat = { ...sizes, model_type: 'longcat_flash', zero_expert_num: 4 };
  const said = { norm_topk_prob: false, zero_expert_type: 'identity' };
  expect(MoEConfig.fromHuggingFace({ ...longcat, ...said }).normTopkProb).toBe(false);
  for (const other of [{ norm_topk_prob: true }, { zero_expert_type: 'copy' }])
    expect(() => MoEConfig.fromHuggingFace({ ...longcat, ...other })).toThrow(ConfigError);
  const kimi = { ...sizes, model_type: 'kimi_linear', num_hidden_layers: 2 };
  const scored = (by: string) =>
    MoEConfig.fromHuggingFace({ ...kimi, moe_router_activation_func: by });
  expect(scored('sigmoid').useGatingSigmoid).toBe(true);
  expect(() => scored('softmax')).toThrow(/`moe_router_activation_func` to be .*sigmoid/);
});

test('MiniMax-M3 may name its activation, and its shared expert twice', () => {
  const m3 = {
    ...{ ...layered, model_type: 'minimax_m3_vl_text', intermediate_size: 6 },
    ...{ moe_intermediate_size: undefined, hidden_act: 'swigluoai', n_shared_experts: 1 },
    ...{ shared_intermediate_size: 3, swiglu_alpha: 1.702, swiglu_limit: 7 },
  };
  expect(huggingFaceLayerOptions(m3)).toMatchObject({ activation: 'swiglu_oai' });
  expect(huggingFaceSizes(m3).sharedSize).toBe(3);
});

const minimax = { ...sizes, intermediate_size: 6, moe_intermediate_size: undefined };
const step = { ...sizes, model_type: 'step3p5' };
const ernie = { ...sizes, model_type: 'ernie4_5_moe' };

test.each<[config: Record<string, unknown>, key: string]>([
  [{ ...minimax, model_type: 'minimax_m2' }, 'use_routing_bias'],
  [{ ...sizes, model_type: 'hy_v3' }, 'moe_router_enable_expert_bias'],
  [{ ...sizes, n_group: 1, topk_group: 1, model_type: 'hy_v4' }, 'moe_router_enable_expert_bias'],
  [{ ...minimax, model_type: 'minimax_m3_vl_text' }, 'use_routing_bias'],
  [step, 'use_moe_router_bias'],
  [ernie, 'moe_use_aux_free'],
])('%j has a bias for the choice unless %s says that there is none', (config, key) => {
  const read = (more: object) => MoEConfig.fromHuggingFace({ ...config, ...more }, { layer: 0 });
  const withBias = [{}, { [key]: true }, { [key]: false }].map(
    (more) => read(more).balanceViaTopkBias,
  );
  expect(withBias).toEqual([true, true, false]);
  expect(read({ [key]: true }).diagnostics).toEqual([]);
});

test.each<[config: Record<string, unknown>, key: string, own: unknown, other: unknown]>([
  [{ ...sizes, model_type: 'hy_v3' }, 'moe_router_use_sigmoid', true, false],
  [{ ...minimax, model_type: 'minimax_m2' }, 'scoring_func', 'sigmoid', 'softmax'],
  [step, 'moe_router_activation', 'sigmoid', 'softmax'],
  [step, 'norm_expert_weight', true, false],
  [ernie, 'moe_gate_act', 'softmax', 'sigmoid'],
])('%j scores in one way: %s is %s, and %s is an error', (config, key, own, other) => {
  const read = (value: unknown) =>
    MoEConfig.fromHuggingFace({ ...config, [key]: value }, { layer: 0 });
  expect(read(own).diagnostics).toEqual([]);
  expect(() => read(other)).toThrow(`Expected \`${key}\` to be`);
});

test.each(['minimax_text_01', 'minimax_m1'])('%s is read as it is published', (model_type) => {
  const published = { ...minimax, model_type, shared_intermediate_size: 0, shared_moe_mode: 'x' };
  expect(MoEConfig.fromHuggingFace(published)).toMatchObject({ normTopkEpsilon: 0 });
  expect(MoEConfig.fromHuggingFace(published).diagnostics).toEqual([]);
  const shared = { ...published, shared_intermediate_size: 6 };
  expect(() => MoEConfig.fromHuggingFace(shared)).toThrow('`shared_intermediate_size`');
});

test('DeepSeek-VL2 routes as either of its generations', () => {
  const read = (keys: object) =>
    MoEConfig.fromHuggingFace({
      model_type: 'deepseek_vl_v2',
      language_config: { ...sizes, n_shared_experts: 2, ...keys },
    });
  const groups = { n_group: 4, topk_group: 2 };
  expect(read({ topk_method: 'greedy', ...groups })).toMatchObject({
    ...{ topkMethod: 'greedy', normTopkProb: false, useGatingSigmoid: false, sharedExpertNum: 2 },
  });
  const third = { topk_method: 'noaux_tc', scoring_func: 'sigmoid', norm_topk_prob: true };
  expect(read({ ...third, ...groups, routed_scaling_factor: 2 })).toMatchObject({
    ...{ topkMethod: 'noaux_tc', nGroup: 4, topkGroup: 2, excludeMaskedGroups: false },
    ...{ useGatingSigmoid: true, balanceViaTopkBias: true, normTopkEpsilon: 1e-20 },
    routedScalingFactor: 2,
  });
});

test('what attention chooses, shares and gates is not about the block', () => {
  const of = { index_topk: 2048, index_topk_freq: 4, num_kv_shared_layers: 2, gating: 'per-head' };
  const config = { ...sizes, model_type: 'glm_moe_dsa', ...of };
  expect(MoEConfig.fromHuggingFace(config).diagnostics).toEqual([]);
});

test.each<[config: object, key: string]>([
  [{ model_type: 'gemma4_text', enable_moe_block: false, num_experts: null }, 'enable_moe_block'],
  [{ model_type: 'gemma4_text' }, 'enable_moe_block'],
  [{ model_type: 'granitemoehybrid', num_local_experts: 0 }, 'num_local_experts'],
  [{ model_type: 'granitemoe', num_local_experts: null }, 'num_local_experts'],
])('%j has no MoE layers', (config, key) => {
  const read = () => MoEConfig.fromHuggingFace({ hidden_size: 8, ...config });
  expect(read).toThrow(new RegExp(`Expected \`${key}\` .* the model has no MoE layers`));
});

test('Aria’s older configs have the width of an expert beside another one', () => {
  const text_config = {
    ...{ model_type: 'aria_moe_lm', hidden_size: 8, moe_num_experts: 8, moe_topk: 2 },
    ...{ intermediate_size: 50, moe_intermediate_size: 6, moe_num_shared_experts: 2 },
  };
  const sizesOf = { intermediateSize: 6, sharedSize: 12 };
  expect(huggingFaceSizes({ model_type: 'aria', text_config })).toMatchObject(sizesOf);
  expect(huggingFaceSizes(text_config)).toMatchObject(sizesOf);
});

test('a model whose first layers differ is read layer by layer', () => {
  const v4 = { ...layered, model_type: 'deepseek_v4', num_hash_layers: 2 };
  expect(MoEConfig.fromHuggingFace(v4, { layer: 1 }).balanceViaTopkBias).toBe(false);
  expect(MoEConfig.fromHuggingFace(v4, { layer: 2 }).balanceViaTopkBias).toBe(true);
  expect(() => MoEConfig.fromHuggingFace(v4)).toThrow(
    'Expected `layer`: the first 2 layers of this model differ from the others',
  );
  expect(() => MoEConfig.fromHuggingFace(v4, null as never)).toThrow(ConfigError);
  for (const wrong of [{ layer: -1 }, { layer: 1.5 }, { lyer: 1 }, { layer: 1, stack: 'talker' }])
    expect(() => MoEConfig.fromHuggingFace(v4, wrong)).toThrow(ConfigError);
});

test('limits of layers are options, and 0 says none', () => {
  const config = {
    ...{ ...sizes, model_type: 'step3p5', share_expert_dims: 4 },
    ...{ swiglu_limits: [0, 7], swiglu_limits_shared: [null, 16] },
  };
  const of = (layer: number) => huggingFaceLayerOptions(config, { layer });
  expect(of(0)).toEqual({
    ...{ activation: 'swiglu', activationClamp: 'after' },
    sharedActivationLimit: null,
  });
  expect(of(1)).toMatchObject({ activationLimit: 7, sharedActivationLimit: 16 });
});

test('members of a merged object are keys', () => {
  const ffn = { moe_num_experts: 16, moe_top_k: 4, ffn_hidden_size: 10 };
  const config = { model_type: 'dbrx', d_model: 8, n_layers: 2, ffn_config: ffn };
  expect(huggingFaceSizes(config)).toMatchObject({ hiddenSize: 8, intermediateSize: 10 });
  const dividedBy = (p: number | null) =>
    MoEConfig.fromHuggingFace({
      ...config,
      ffn_config: { ...ffn, moe_normalize_expert_weights: p },
    });
  expect([1, null].map((p) => dividedBy(p).normTopkProb)).toEqual([true, false]);
  expect(() => dividedBy(2)).toThrow('moe_normalize_expert_weights');
});

test('the first layers of some models have a table in place of a bias', () => {
  const config = { ...sizes, model_type: 'deepseek_v4', num_hash_layers: 1 };
  expect(huggingFaceLayerOptions(config, { layer: 0 }).expertTable).toBe(true);
  expect(huggingFaceLayerOptions(config, { layer: 1 }).expertTable).toBeUndefined();
});

test('an average with no shared expert is the routed ones', () => {
  const config = { ...sizes, model_type: 'cohere2_moe', intermediate_size: 6 };
  const { moe_intermediate_size: _, ...alone } = config;
  expect(MoEConfig.fromHuggingFace(alone).routedScalingFactor).toBe(1);
});

/** Model, field that it needs. */
const needs: [model: object, field: string][] = [
  [{ ...sizes, model_type: 'longcat_flash' }, 'zeroExpertNum'],
  [{ ...sizes, model_type: 'qwen3_next', num_experts_per_tok: 1 }, 'normTopkSingle'],
];
test.each(needs)(
  '%j needs a field: it is set, or the model is refused by its name',
  (model, field) => {
    const read = () => MoEConfig.fromHuggingFace(model);
    if (fieldNames.includes(field as FieldName)) expect(read()).toHaveProperty(field);
    else expect(read).toThrow(`Expected a model that needs no \`${field}\``);
  },
);

test.each(refusedRows)('$modelTypes are refused with the reason', ({ modelTypes, refused }) => {
  const [model_type] = modelTypes;
  expect(() => MoEConfig.fromHuggingFace({ model_type })).toThrow(ConfigError);
  expect(() => MoEConfig.fromHuggingFace({ model_type })).toThrow(refused);
});

test.each<[name: string, config: Record<string, unknown>, sparse: number[]]>([
  ['all', { model_type: 'olmoe' }, [0, 1, 2, 3, 4, 5]],
  ['behind the first', { model_type: 'glm4_moe', first_k_dense_replace: 4 }, [4, 5]],
  ['behind the first, by default', { model_type: 'glm4_moe' }, [1, 2, 3, 4, 5]],
  [
    'a list with 1 for each',
    { model_type: 'glm4_moe', moe_layer_freq: [0, 0, 1, 0, 0, 1] },
    [2, 5],
  ],
  [
    'every second, but some',
    { model_type: 'qwen3_moe', decoder_sparse_step: 2, mlp_only_layers: [3] },
    [1, 5],
  ],
  [
    'words',
    {
      model_type: 'mellum',
      mlp_layer_types: ['sparse', 'dense', 'dense', 'sparse', 'dense', 'dense'],
    },
    [0, 3],
  ],
  ['letters', { model_type: 'nemotron_h', hybrid_override_pattern: 'MEM*EM' }, [1, 4]],
  ['numbers in a text', { model_type: 'step3p5', moe_layers_enum: '2,4' }, [2, 4]],
  ['numbers', { model_type: 'llama4', moe_layers: [1, 5] }, [1, 5]],
  ['the last of every few', { model_type: 'llama4', interleave_moe_layer_step: 3 }, [2, 5]],
  [
    'a period and an offset',
    { model_type: 'jamba', expert_layer_period: 3, expert_layer_offset: 1 },
    [1, 4],
  ],
  [
    'from one to another',
    { model_type: 'ernie4_5_moe', moe_layer_start_index: 2, moe_layer_end_index: 4 },
    [2, 3, 4],
  ],
  [
    'from one to another, by stack',
    { model_type: 'ernie4_5_moe_vl', moe_layer_start_index: [2, 3], moe_layer_end_index: [5, 4] },
    [2, 3, 4, 5],
  ],
])('layers with a block: %s', (_, config, sparse) => {
  const stack = config['model_type'] === 'ernie4_5_moe_vl' ? 'text' : undefined;
  const layers = huggingFaceLayers({ ...layered, ...config }, { stack });
  expect(layers.count).toBe(6);
  expect([0, 1, 2, 3, 4, 5].filter(layers.isSparse)).toEqual(sparse);
});

const four = { hidden_size: 8, num_hidden_layers: 2, num_local_experts: 4, num_experts: 4 };

test('a text part of an older type does not hide what the whole model is', () => {
  const text_config = {
    ...four,
    ...{ model_type: 'minimax_m2', intermediate_size: 16, shared_intermediate_size: 24 },
  };
  const outer = { model_type: 'minimax_m3_vl', text_config };
  expect(huggingFaceSizes(outer)).toMatchObject({ sharedSize: 24 });
  expect(huggingFaceLayerOptions(outer)).toMatchObject({ activation: 'swiglu_oai' });
});

test.each<[string, Record<string, unknown>, RegExp]>([
  ['hy_v3', { moe_router_use_sigmoid: false }, /moe_router_use_sigmoid.*score by sigmoid/],
  ['ernie4_5_moe', { moe_gate_act: 'sigmoid' }, /moe_gate_act/],
  ['mixtral', { use_routing_bias: true }, /use_routing_bias/],
])('a router of %s that is another is refused: %j', (model_type, config, message) => {
  const whole = {
    ...four,
    model_type,
    intermediate_size: 16,
    moe_num_experts: 4,
    num_experts_per_tok: 2,
    ...config,
  };
  expect(() => huggingFaceSizes(whole)).toThrow(message);
});

test('groups of experts mean nothing where each is chosen by itself', () => {
  const config = {
    ...four,
    model_type: 'deepseek_v2',
    n_routed_experts: 4,
    num_experts_per_tok: 2,
    moe_intermediate_size: 8,
    topk_method: 'greedy',
    n_group: 8,
    topk_group: 3,
  };
  const { n_group: _, topk_group: __, ...without } = config;
  expect(MoEConfig.fromHuggingFace(config)).toEqual(MoEConfig.fromHuggingFace(without));
});

test('a limit of 0 is none', () => {
  const config = {
    ...four,
    model_type: 'deepseek_v4',
    n_routed_experts: 4,
    num_experts_per_tok: 2,
    moe_intermediate_size: 8,
  };
  const at = { layer: 1 };
  expect(huggingFaceLayerOptions({ ...config, swiglu_limit: 0 }, at)).not.toHaveProperty(
    'activationLimit',
  );
  expect(huggingFaceLayerOptions({ ...config, swiglu_limit: 5 }, at)).toHaveProperty(
    'activationLimit',
    5,
  );
});
