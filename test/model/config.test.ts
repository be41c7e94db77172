import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/index.js';
import { describeModel } from '../../src/model/describe.js';
import type { Config } from '../families/fixture.js';

const folder = join(import.meta.dirname, '../data/configs');
const published = (name: string): Config =>
  JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'));
const without = (config: Config, key: string): Config => {
  const { [key]: _, ...others } = config;
  return others;
};

describe('published configs', () => {
  const names = readdirSync(folder).map((file) => file.replace('.json', ''));

  test.each(names)('%s is understood to the last key', (name) => {
    const { spec, layers, notes } = describeModel(published(name));
    expect(notes).toEqual([]);
    expect(layers).toHaveLength(spec.layers);
  });

  test('sizes, windows, dense layers and scales are those of the models', () => {
    const v3 = describeModel(published('DeepSeek-V3'));
    expect(v3.layers.filter(({ dense }) => dense).length).toBe(3);
    expect(v3.layers[0]?.dense?.width).toBe(18432);
    // 1.36888 squared, by the square root of 192.
    expect(v3.layers[0]?.attention.scale).toBeCloseTo(1.87385 / Math.sqrt(192), 6);
    expect(v3.spec.rotations).toHaveLength(1);
    expect(v3.spec.rotations[0]).toMatchObject({ factor: 1, interleaved: true });
    const oss = describeModel(published('gpt-oss-20b'));
    expect(oss.layers.map(({ attention }) => attention.window).slice(0, 4)).toEqual([
      128, 0, 128, 0,
    ]);
    expect(oss.spec.rotations[0]?.factor).toBeCloseTo(1.346574, 6);
    expect(oss.spec.contextLength).toBe(131072);
    const air = describeModel(published('GLM-4.5-Air'));
    expect(air.layers[0]?.attention).toMatchObject({
      headSize: 128,
      rotatedSize: 64,
      norm: 'none',
    });
    expect(air.layers[0]?.parts).toMatchObject({ bias: true, outputBias: false });
    expect(air.endTokens).toEqual([151329, 151336, 151338]);
    const granite = describeModel(published('granite-3.0-1b-a400m-base'));
    expect(granite).toMatchObject({
      tied: true,
      spec: { embeddingFactor: 12, residualFactor: 0.22 },
    });
    expect(granite.spec.logitsFactor).toBeCloseTo(1 / 6, 12);
    expect(granite.layers[0]?.attention.scale).toBe(0.015625);
  });
});

const mixtral = published('Mixtral-8x7B-v0.1');
const qwen3 = published('Qwen3-30B-A3B');
const v2 = published('DeepSeek-V2-Lite');
const gptOss = published('gpt-oss-20b');
const dots = published('dots.llm1.base');
const glm = published('GLM-4.5-Air');

describe('errors say what is wrong', () => {
  const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32768 };
  const cases: [what: string, config: Config, says: string | RegExp][] = [
    [
      'a family that is not known',
      { ...mixtral, model_type: 'gemma4' },
      /`model_type` .*mixtral.*gemma4/,
    ],
    ['a missing size', without(mixtral, 'vocab_size'), 'key `vocab_size`'],
    ['a missing epsilon', without(mixtral, 'rms_norm_eps'), 'key `rms_norm_eps`'],
    [
      'a missing width of dense layers',
      without(v2, 'intermediate_size'),
      'key `intermediate_size`',
    ],
    ['a missing rank of queries', without(v2, 'q_lora_rank'), 'key `q_lora_rank`'],
    ['heads that no key fits', { ...mixtral, num_key_value_heads: 5 }, '`num_key_value_heads` 5'],
    ['heads of a broken size', { ...mixtral, num_attention_heads: 24 }, '`num_attention_heads` 24'],
    [
      'an odd number that is rotated',
      { ...glm, head_dim: 100, partial_rotary_factor: 0.25 },
      'head_dim',
    ],
    ['layers without end', { ...mixtral, num_hidden_layers: 2e9 }, 'from 1 to 65536'],
    ['heads without end', { ...mixtral, head_dim: 1.5e9 }, '`head_dim` to be an integer from 1'],
    [
      'heads without end that follow from others',
      { ...mixtral, hidden_size: 2 ** 30, num_attention_heads: 8 },
      '`head_dim` to be an integer from 1',
    ],
    [
      'rotated parts without end',
      { ...v2, qk_rope_head_dim: 2 ** 30 },
      '`qk_rope_head_dim` to be an integer from 1',
    ],
    ["another family's factor", { ...mixtral, residual_multiplier: 0.5 }, 'residual_multiplier'],
    ["another family's bias", { ...mixtral, attention_bias: true }, 'attention_bias'],
    ["another family's clamp", { ...qwen3, clip_qkv: 8 }, 'clip_qkv'],
    ["another family's norms", { ...mixtral, use_qk_norm: true }, 'use_qk_norm'],
    ['no norms where there always are', { ...qwen3, use_qk_norm: false }, 'use_qk_norm'],
    ['part of heads rotated', { ...mixtral, partial_rotary_factor: 0.5 }, 'partial_rotary_factor'],
    [
      'part of heads rotated, inside',
      { ...mixtral, rope_parameters: { partial_rotary_factor: 0.5 } },
      'partial_rotary_factor',
    ],
    [
      'an unknown key of attention',
      { ...mixtral, attention_temperature: 2 },
      'attention_temperature',
    ],
    ['an unknown key of norms', { ...mixtral, norm_after: true }, 'norm_after'],
    [
      'dense layers that the family lacks',
      { ...mixtral, first_k_dense_replace: 1 },
      'first_k_dense_replace',
    ],
    ['soft caps', { ...qwen3, final_logit_softcapping: 30 }, 'final_logit_softcapping'],
    ['windows without a size', { ...gptOss, sliding_window: null }, 'layer_types[0]'],
    ['too few types of layers', { ...gptOss, layer_types: ['full_attention'] }, 'a list of 24'],
    [
      'a type of layers that is not known',
      { ...dots, layer_types: Array(62).fill('chunked_attention') },
      'layer_types[0]',
    ],
    [
      'types that the class does not read',
      { ...qwen3, layer_types: Array(48).fill('sliding_attention') },
      'layer_types[0]',
    ],
    ['a window of another family', { ...v2, sliding_window: 128 }, 'sliding_window'],
    [
      'a size of heads that follows from others',
      { ...v2, head_dim: 128 },
      '`head_dim` to be left out or 64',
    ],
    ['a model with other parts', { ...mixtral, vision_config: {} }, 'vision_config'],
    ['an end token that is none', { ...mixtral, eos_token_id: 32000 }, 'eos_token_id'],
    [
      'positions that change as a sequence grows',
      { ...qwen3, rope_scaling: { type: 'dynamic', factor: 2 } },
      "'dynamic' turns a token otherwise",
    ],
    [
      'positions of an unknown type',
      { ...qwen3, rope_scaling: { type: 'mrope', factor: 2 } },
      'rope_type',
    ],
    [
      'two types',
      { ...qwen3, rope_scaling: { ...yarn, type: 'linear' } },
      '`rope_type` and `type`',
    ],
    [
      'two descriptions',
      { ...qwen3, rope_scaling: yarn, rope_parameters: { ...yarn, factor: 2 } },
      '`rope_parameters` and `rope_scaling`',
    ],
    [
      'a key of another type',
      { ...qwen3, rope_scaling: { ...yarn, low_freq_factor: 1 } },
      'rope_parameters.low_freq_factor',
    ],
    ['a factor of 0', { ...qwen3, rope_scaling: { ...yarn, factor: 0 } }, 'rope_parameters.factor'],
    [
      'no factor',
      { ...qwen3, rope_scaling: { rope_type: 'linear' } },
      'key `rope_parameters.factor`',
    ],
    [
      'too few factors',
      { ...qwen3, rope_scaling: { type: 'longrope', short_factor: [1], long_factor: [2] } },
      'a list of 64 numbers',
    ],
    [
      'a layer type without a description',
      { ...gptOss, rope_scaling: { full_attention: { rope_type: 'default' } } },
      'rope_parameters.sliding_attention',
    ],
  ];

  test.each(cases)('%s', (_, config, says) => {
    expect(() => describeModel(config)).toThrow(ConfigError);
    expect(() => describeModel(config)).toThrow(says);
  });

  test('factors for longer sequences hold for none of those that may still grow', () => {
    const factors = (value: number) => new Array<number>(64).fill(value);
    const long = (short: number, other: number) => ({
      ...qwen3,
      rope_scaling: {
        ...{ rope_type: 'longrope', original_max_position_embeddings: 4096 },
        ...{ short_factor: factors(short), long_factor: factors(other) },
      },
    });
    expect(() => describeModel(long(1, 2))).toThrow('`contextLength` to be at most 4096');
    const { spec } = describeModel(long(1, 2), undefined, { contextLength: 4096 });
    expect(spec.contextLength).toBe(4096);
    expect(describeModel(long(2, 2)).spec.contextLength).toBe(40960);
  });
});

describe('the context', () => {
  test('is what the config says, and longer by a factor', () => {
    const context = (config: Config) => describeModel(config).spec.contextLength;
    expect(context(qwen3)).toBe(40960);
    expect(context({ ...qwen3, rope_scaling: { type: 'linear', factor: 2 } })).toBe(81920);
    const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32768 };
    expect(context({ ...qwen3, rope_scaling: yarn })).toBe(131072);
  });

  test('may be asked to be shorter, not longer', () => {
    expect(describeModel(qwen3, undefined, { contextLength: 512 }).spec.contextLength).toBe(512);
    expect(() => describeModel(qwen3, undefined, { contextLength: 40961 })).toThrow(
      "`contextLength` to be at most the model's 40960",
    );
  });
});

test('an unknown key that cannot be of the decoder is a note', () => {
  const { notes } = describeModel({ ...mixtral, favourite_colour: 'blue' });
  expect(notes).toEqual([
    "`favourite_colour` of the model's config is not known, and has no effect",
  ]);
});

describe('generation_config.json', () => {
  test('says what ends a text and how it is sampled', () => {
    const { endTokens, sampling, notes } = describeModel(qwen3, {
      ...{ bos_token_id: 151643, do_sample: true, eos_token_id: [151645, 151643] },
      ...{ temperature: 0.6, top_k: 20, top_p: 0.95, transformers_version: '4.51.0' },
    });
    expect(endTokens).toEqual([151645, 151643]);
    expect(sampling).toEqual({ temperature: 0.6, topK: 20, topP: 0.95 });
    expect(notes).toEqual([]);
  });

  test('that samples nothing means the likeliest token', () => {
    expect(describeModel(qwen3, { do_sample: false, temperature: 0.7 }).sampling).toEqual({
      temperature: 0,
    });
    expect(describeModel(qwen3, {}).sampling).toEqual({});
    expect(describeModel(qwen3, { eos_token_id: 5 }).endTokens).toEqual([5]);
    expect(describeModel(qwen3, {}).endTokens).toEqual([151645]);
  });

  test('that asks for more is noted, and that is wrong is an error', () => {
    expect(describeModel(qwen3, { num_beams: 4 }).notes).toEqual([
      '`num_beams` of generation_config.json has no effect',
    ]);
    expect(() => describeModel(qwen3, { top_p: 2 })).toThrow('generation_config.top_p');
  });
});
