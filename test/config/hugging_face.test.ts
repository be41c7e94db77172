import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/base/errors.js';
import { readQuantisation } from '../../src/checkpoint/families/quantisation/read.js';
import { MoEConfig, type MoEConfigOptions } from '../../src/config/config.js';
import { huggingFaceLayerOptions, huggingFaceSizes } from '../../src/config/hugging_face.js';
import { knownModelTypes } from '../../src/families/families.js';
import {
  deepseekV2,
  deepseekV2Lite,
  deepseekV3,
  dots1,
  glm4,
  gptOss,
  granite,
  granite1b,
  graniteShared,
  type ModelConfig,
  mixtral,
  olmoe,
  qwen2,
  qwen3,
  qwen3Coder,
} from './model_configs.js';

const models: { config: ModelConfig; options: MoEConfigOptions; sizes: object }[] = [
  {
    config: mixtral,
    options: { expertNum: 8, numExpertsChosen: 2, moeIntermediateSize: 14336, normTopkEpsilon: 0 },
    sizes: {
      hiddenSize: 4096,
      intermediateSize: 14336,
      sharedSize: 0,
    },
  },
  {
    config: qwen2,
    options: {
      expertNum: 60,
      numExpertsChosen: 4,
      moeIntermediateSize: 1408,
      normTopkProb: false,
      sharedExpertNum: 4,
      useSharedExpertGating: true,
    },
    sizes: {
      hiddenSize: 2048,
      intermediateSize: 1408,
      sharedSize: 5632,
    },
  },
  {
    config: qwen3,
    options: { expertNum: 128, numExpertsChosen: 8, moeIntermediateSize: 768, normTopkEpsilon: 0 },
    sizes: {
      hiddenSize: 2048,
      intermediateSize: 768,
      sharedSize: 0,
    },
  },
  {
    config: qwen3Coder,
    options: { expertNum: 128, numExpertsChosen: 8, moeIntermediateSize: 768, normTopkEpsilon: 0 },
    sizes: {
      hiddenSize: 2048,
      intermediateSize: 768,
      sharedSize: 0,
    },
  },
  {
    config: olmoe,
    options: { expertNum: 64, numExpertsChosen: 8, moeIntermediateSize: 1024, normTopkProb: false },
    sizes: {
      hiddenSize: 2048,
      intermediateSize: 1024,
      sharedSize: 0,
    },
  },
  {
    config: deepseekV2,
    options: {
      expertNum: 160,
      numExpertsChosen: 6,
      moeIntermediateSize: 1536,
      topkMethod: 'group_limited_greedy',
      nGroup: 8,
      topkGroup: 3,
      normTopkProb: false,
      routedScalingFactor: 16,
      sharedExpertNum: 2,
    },
    sizes: {
      hiddenSize: 5120,
      intermediateSize: 1536,
      sharedSize: 3072,
    },
  },
  {
    config: deepseekV2Lite,
    options: {
      expertNum: 64,
      numExpertsChosen: 6,
      moeIntermediateSize: 1408,
      normTopkProb: false,
      sharedExpertNum: 2,
    },
    sizes: {
      hiddenSize: 2048,
      intermediateSize: 1408,
      sharedSize: 2816,
    },
  },
  {
    config: deepseekV3,
    options: {
      expertNum: 256,
      numExpertsChosen: 8,
      moeIntermediateSize: 2048,
      useGatingSigmoid: true,
      balanceViaTopkBias: true,
      topkMethod: 'noaux_tc',
      nGroup: 8,
      topkGroup: 4,
      excludeMaskedGroups: true,
      normTopkEpsilon: 1e-20,
      routedScalingFactor: 2.5,
      sharedExpertNum: 1,
    },
    sizes: {
      hiddenSize: 7168,
      intermediateSize: 2048,
      sharedSize: 2048,
    },
  },
  {
    config: glm4,
    options: {
      expertNum: 128,
      numExpertsChosen: 8,
      moeIntermediateSize: 1408,
      useGatingSigmoid: true,
      balanceViaTopkBias: true,
      normTopkEpsilon: 1e-20,
      sharedExpertNum: 1,
    },
    sizes: {
      hiddenSize: 4096,
      intermediateSize: 1408,
      sharedSize: 1408,
    },
  },
  {
    config: dots1,
    options: {
      expertNum: 128,
      numExpertsChosen: 6,
      moeIntermediateSize: 1408,
      useGatingSigmoid: true,
      balanceViaTopkBias: true,
      normTopkEpsilon: 1e-20,
      routedScalingFactor: 2.5,
      sharedExpertNum: 2,
    },
    sizes: {
      hiddenSize: 4096,
      intermediateSize: 1408,
      sharedSize: 2816,
    },
  },
  {
    config: gptOss,
    options: { expertNum: 32, numExpertsChosen: 4, moeIntermediateSize: 2880, normTopkEpsilon: 0 },
    sizes: {
      hiddenSize: 2880,
      intermediateSize: 2880,
      sharedSize: 0,
      activation: 'swiglu_oai',
    },
  },
  {
    config: granite,
    options: { expertNum: 40, numExpertsChosen: 8, moeIntermediateSize: 512, normTopkEpsilon: 0 },
    sizes: {
      hiddenSize: 1536,
      intermediateSize: 512,
      sharedSize: 0,
    },
  },
  {
    config: granite1b,
    options: { expertNum: 32, numExpertsChosen: 8, moeIntermediateSize: 512, normTopkEpsilon: 0 },
    sizes: {
      hiddenSize: 1024,
      intermediateSize: 512,
      sharedSize: 0,
    },
  },
  {
    config: graniteShared,
    options: {
      expertNum: 40,
      numExpertsChosen: 8,
      moeIntermediateSize: 512,
      normTopkEpsilon: 0,
      sharedExpertNum: 2,
    },
    sizes: {
      hiddenSize: 1536,
      intermediateSize: 512,
      sharedSize: 1024,
    },
  },
];

/** What a class of Transformers 5 writes, by the model's type, beside what was read. */
const ofTransformers5: Record<string, Record<string, unknown>> = {
  mixtral: { head_dim: 128, pad_token_id: null, router_jitter_noise: 0.0 },
  qwen2_moe: { layer_types: ['full_attention'], mlp_only_layers: [], qkv_bias: true },
  deepseek_v2: { head_dim: 64, mlp_bias: false, qk_head_dim: 192 },
  deepseek_v3: { head_dim: 64, qk_head_dim: 192, rope_interleave: true },
  dots1: { layer_types: ['full_attention'] },
};

/** Its own names of keys, under which the value is written that was read under another. */
function asTransformers5(config: ModelConfig): ModelConfig {
  const { torch_dtype, rope_theta, rope_scaling, num_experts, transformers_version, ...rest } =
    config;
  const name = config.model_type === 'qwen3_moe' ? 'num_local_experts' : 'num_experts';
  return {
    ...rest,
    ...(num_experts !== undefined && { [name]: num_experts }),
    ...ofTransformers5[config.model_type],
    dtype: torch_dtype ?? 'bfloat16',
    rope_parameters: { rope_type: 'default', ...(rope_scaling as object | null), rope_theta },
    transformers_version: '5.18.0',
  };
}

describe.each(models)('$config.model_type', ({ config, options, sizes }) => {
  test('routes as the model does, and every field counts', () => {
    const routing = MoEConfig.fromHuggingFace(config);
    const dropless = { routingPolicy: 'TopkRouterV2', capacityFactor: -1 } as const;
    expect({ ...routing }).toEqual({ ...new MoEConfig({ ...dropless, ...options }) });
    expect(routing.diagnostics).toEqual([]);
  });

  test('has the sizes of the model', () => {
    expect(huggingFaceSizes(config)).toEqual({
      modelType: config.model_type,
      activation: 'swiglu',
      ...sizes,
    });
  });

  test('is read as Transformers 5 writes it', () => {
    const written = asTransformers5(config);
    const routing = MoEConfig.fromHuggingFace(written);
    expect({ ...routing }).toEqual({ ...MoEConfig.fromHuggingFace(config) });
    expect(routing.diagnostics).toEqual([]);
    expect(huggingFaceSizes(written)).toEqual(huggingFaceSizes(config));
  });

  test('has no quantisation, or one that is read', () => {
    const { quantization_config: description } = config as Record<string, unknown>;
    expect(() => description && readQuantisation(description, 'unknown')).not.toThrow();
  });

  test('names a needed key that is missing', () => {
    const experts = ['num_local_experts', 'num_experts', 'n_routed_experts'];
    const [key] = Object.keys(config).filter((name) => experts.includes(name));
    const { [key as keyof typeof config]: _, ...rest } = config;
    const names = ['num_experts', 'num_local_experts', 'n_routed_experts', 'moe_num_experts'];
    const others = names.filter((name) => name !== key).map((name) => `\`${name}\``);
    expect(() => MoEConfig.fromHuggingFace(rest)).toThrow(
      new ConfigError(
        `Expected the key \`${key}\` (or ${others.join(' or ')}) in the model's config, got none`,
      ),
    );
  });
});

describe('shared experts', () => {
  test('null says none, and absent says what the class does', () => {
    const { n_shared_experts: _, ...absent } = deepseekV3;
    expect(MoEConfig.fromHuggingFace(absent).sharedExpertNum).toBe(1);
    expect(
      MoEConfig.fromHuggingFace({ ...deepseekV3, n_shared_experts: null }).sharedExpertNum,
    ).toBe(0);
  });

  test('a width that is no multiple of an expert comes back exactly', () => {
    for (const width of [1, 7, 1000, 5633]) {
      const config = { ...qwen2, shared_expert_intermediate_size: width };
      expect(Math.round(MoEConfig.fromHuggingFace(config).sharedExpertNum * 1408)).toBe(width);
    }
  });
});

test('text_config is entered, once', () => {
  const config: Record<string, unknown> = { model_type: 'vision', text_config: mixtral };
  expect(MoEConfig.fromHuggingFace(config).expertNum).toBe(8);
  expect(huggingFaceSizes(config).modelType).toBe('mixtral');
  const endless: Record<string, unknown> = { model_type: 'vision' };
  endless.text_config = endless;
  expect(() => MoEConfig.fromHuggingFace(endless)).toThrow(ConfigError);
});

test.each<[config: unknown, message: string]>([
  [
    { model_type: 'llama' },
    `one of llama4, ${knownModelTypes.filter((name) => name !== 'llama4').join(', ')}, got \`llama\``,
  ],
  [{ model_type: 'qwen3-moe' }, 'Expected `model_type` to be one of qwen3_moe, qwen2_moe, '],
  [{}, 'got `undefined`'],
  [{ model_type: '__proto__', text_config: null }, 'got `__proto__` (string)'],
  [null, 'Expected `config` to be an object, got `null`'],
  [
    { ...mixtral, num_local_experts: '8' },
    'Expected `num_local_experts` to be an integer from 1 to 2147483647, got `8`',
  ],
  ...[null, 0].map((none): [object, string] => [
    { ...granite, num_local_experts: none },
    `Expected \`num_local_experts\` to be at least 1: the model has no MoE layers, got \`${none}\``,
  ]),
  [
    { ...mixtral, num_experts_per_tok: 9 },
    'Expected `num_experts_per_tok` to be at most `num_local_experts` (8), got `9`',
  ],
  [{ ...qwen3, norm_topk_prob: 'yes' }, 'Expected `norm_topk_prob` to be true or false'],
  [{ ...deepseekV2, norm_topk_prob: true }, 'Expected `norm_topk_prob` to be false'],
  [{ ...deepseekV2, scoring_func: 'sigmoid' }, 'Expected `scoring_func` to be softmax'],
  [
    { ...deepseekV2, topk_method: 'noaux_tc' },
    "Expected `topk_method` to be 'greedy' or 'group_limited_greedy'",
  ],
  [{ ...deepseekV2, n_group: null }, 'Expected the key `n_group`'],
  [{ ...deepseekV3, topk_method: 'greedy' }, 'Expected `topk_method` to be noaux_tc'],
  [
    { ...deepseekV3, scoring_func: 'softmax' },
    "Expected `scoring_func` to be 'sigmoid' or 'noaux_tc'",
  ],
  [{ ...deepseekV3, n_group: 7 }, 'Expected `n_group` to be a divisor of `n_routed_experts` (256)'],
])('%j is refused', (config, message) => {
  expect(() => MoEConfig.fromHuggingFace(config as object)).toThrow(ConfigError);
  expect(() => MoEConfig.fromHuggingFace(config as object)).toThrow(message);
});

test.each<[config: object, message: string]>([
  [
    { ...mixtral, hidden_act: 'relu6' },
    "Expected `hidden_act` to be 'silu' or 'swish' or 'gelu', got `relu6`",
  ],
  [{ ...gptOss, swiglu_limit: 'high' }, 'Expected `swiglu_limit` to be a finite number'],
])('sizes of %j are refused', (config, message) => {
  expect(() => huggingFaceSizes(config)).toThrow(ConfigError);
  expect(() => huggingFaceSizes(config)).toThrow(message);
});

test('gelu makes a GeGLU', () => {
  expect(huggingFaceSizes({ ...mixtral, hidden_act: 'gelu' }).activation).toBe('geglu');
});

test('a single choice of a model that normalises has weight 1', () => {
  const { numExpertsChosen, normTopkProb, normTopkSingle } = MoEConfig.fromHuggingFace({
    ...mixtral,
    num_experts_per_tok: 1,
  });
  expect([numExpertsChosen, normTopkProb, normTopkSingle]).toEqual([1, true, true]);
  expect(MoEConfig.fromHuggingFace(mixtral).normTopkSingle).toBe(false);
});

test('gpt-oss with another limit is another layer', () => {
  expect(huggingFaceLayerOptions({ ...gptOss, swiglu_limit: 10 })).toMatchObject({
    activation: 'swiglu_oai',
    activationLimit: 10,
  });
  expect(huggingFaceLayerOptions(gptOss)).toEqual({ activation: 'swiglu_oai' });
});
