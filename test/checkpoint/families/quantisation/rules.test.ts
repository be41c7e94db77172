import { describe, expect, test } from 'vitest';
import { readQuantisation } from '../../../../src/checkpoint/families/quantisation/read.js';

const forms = (description: object, modules: readonly string[]): (string | undefined)[] => {
  const quantisation = readQuantisation(description, 'unknown');
  return modules.map((module) => {
    const form = quantisation.formOf(module);
    return form && `${form.codes} ${form.shapeOf(32, 64).join()}`;
  });
};

const experts = 'model.layers.0.mlp.experts.3.up_proj';
const gate = 'model.layers.0.mlp.gate';
const attention = 'model.layers.0.self_attn.q_proj';

describe('compressed-tensors', () => {
  const group = (targets: string[], num_bits: number, more = {}) => ({
    targets,
    weights: { num_bits, type: 'int', strategy: 'channel', symmetric: true },
    ...more,
  });

  test('takes the group that names a module before one of its class, and no module that is ignored', () => {
    const description = {
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      config_groups: {
        all: group(['Linear'], 4),
        some: group(['re:.*self_attn\\..*'], 8),
        one: group(['lm_head'], 8, { format: 'int-quantized' }),
      },
      ignore: ['re:.*mlp\\.gate$', 'model.layers.1.mlp.experts.3.up_proj'],
    };
    const other = 'model.layers.1.mlp.experts.3.up_proj';
    expect(forms(description, [experts, attention, 'lm_head', gate, other])).toEqual([
      '.weight_packed 32,8',
      '.weight_packed 32,16',
      '.weight 32,64',
      undefined,
      undefined,
    ]);
  });

  test('takes a pattern from the beginning of a name on', () => {
    const description = {
      quant_method: 'compressed-tensors',
      format: 'pack-quantized',
      config_groups: { all: group(['re:layers'], 4) },
    };
    expect(forms(description, [experts, 'layers.0.up'])).toEqual([
      undefined,
      '.weight_packed 32,8',
    ]);
  });
});

test('GPTQ has rules of its own for some modules', () => {
  const description = {
    ...{ quant_method: 'gptq', bits: 4, group_size: 32 },
    dynamic: {
      '-:.*self_attn': {},
      '+:.*experts\\.3\\.': { bits: 8 },
      lm_head: { group_size: 64 },
    },
  };
  expect(forms(description, [attention, experts, gate, 'lm_head'])).toEqual([
    undefined,
    '.qweight 16,32',
    '.qweight 8,32',
    '.qweight 8,32',
  ]);
});

test('AWQ leaves modules out by a part of their names', () => {
  const description = {
    quant_method: 'awq',
    bits: 4,
    modules_to_not_convert: ['gate', 'self_attn'],
  };
  expect(forms(description, [attention, gate, experts])).toEqual([
    undefined,
    undefined,
    '.qweight 64,4',
  ]);
});

test.each([
  ['auto_round:auto_gptq', '.qweight 8,32'],
  ['auto_round:auto_awq', '.qweight 64,4'],
])('AutoRound has the layout %s, and modules of 16 bits', (packing_format, form) => {
  const description = {
    ...{ quant_method: 'auto-round', bits: 4, group_size: 128, sym: true, packing_format },
    extra_config: { [gate]: { bits: 16, data_type: 'float' }, [attention]: { group_size: 32 } },
  };
  expect(forms(description, [experts, gate, attention])).toEqual([form, undefined, form]);
});

test('AutoRound names modules, or patterns of which the first counts', () => {
  // Source: intel/auto-round, auto_round/inference/convert_model.py and `_expand_regex_config` of inference/utils.py.
  const description = {
    ...{ quant_method: 'auto-round', bits: 4, group_size: 128, packing_format: 'auto_round' },
    extra_config: {
      '.*self_attn.*': { bits: 16 },
      '.*': { bits: 8, sym: null },
      [attention]: { bits: 4 },
      model: { bits: 16 },
    },
  };
  expect(forms(description, [attention, `${attention}x`, experts])).toEqual([
    '.qweight 8,32',
    undefined,
    '.qweight 16,32',
  ]);
});

describe('ModelOpt', () => {
  test('leaves modules out by globs', () => {
    const description = {
      producer: { name: 'modelopt' },
      quantization: {
        quant_algo: 'NVFP4',
        group_size: 16,
        exclude_modules: ['lm_head', '*self_attn*'],
      },
    };
    const quantisation = readQuantisation(description.quantization, 'modelopt');
    expect(
      [attention, 'lm_head', experts].map((module) => quantisation.formOf(module)?.codes),
    ).toEqual([undefined, undefined, '.weight']);
  });

  test('lists modules where they differ', () => {
    const description = {
      ...{ quant_method: 'modelopt', quant_algo: 'MIXED_PRECISION' },
      quantized_layers: { [experts]: { quant_algo: 'NVFP4' }, [attention]: { quant_algo: 'FP8' } },
    };
    expect(forms(description, [experts, attention, gate])).toEqual([
      '.weight 32,32',
      '.weight 32,64',
      undefined,
    ]);
  });
});

test('MLX has other bits for some modules', () => {
  const description = {
    bits: 4,
    group_size: 64,
    [gate]: { bits: 8, group_size: 64 },
    [attention]: false,
  };
  const quantisation = readQuantisation(description, 'MLX');
  expect(
    [experts, gate, attention].map((module) => quantisation.formOf(module)?.shapeOf(32, 64)),
  ).toEqual([[32, 8], [32, 16], undefined]);
});
