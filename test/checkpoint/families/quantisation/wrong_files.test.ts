import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type TensorToWrite,
  writeSafetensors,
} from '../../../../src/checkpoint/containers/write.js';
import { CheckpointError, MoELayer } from '../../../../src/index.js';
import { fixtures } from '../../../families/fixtures/all.js';
import type { Tensors } from '../../../fixtures/families.js';
import { type QuantisedFormat, quantised, quantisedFormats } from '../../../fixtures/quantised.js';
import { temporaryFolder } from '../../../fixtures/temporary_folder.js';

const fixture = fixtures.find(({ name }) => name === 'mixtral, w1, w2, w3');
if (fixture === undefined) throw new Error('no fixture');
const module = 'model.layers.0.block_sparse_moe.experts.1.w2';
const formatOf = (name: string): QuantisedFormat => {
  const found = quantisedFormats.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no format ${name}`);
  return found;
};

/** Loads the model in a format of which something is wrong. */
async function load(
  format: QuantisedFormat,
  { tensors = (same: Tensors) => same, config = {} as object } = {},
): Promise<MoELayer> {
  const { stored } = quantised(format, fixture?.tensors ?? {}, (name) =>
    /experts\.\d+\.w\d\.weight$/.test(name),
  );
  const folder = await temporaryFolder();
  const description = { ...format.config, ...config };
  const key = 'quant_method' in description ? 'quantization_config' : 'quantization';
  await writeFile(
    join(folder, 'config.json'),
    JSON.stringify({ ...fixture?.config, [key]: description }),
  );
  await writeSafetensors(join(folder, 'model.safetensors'), tensors(stored));
  return MoELayer.load(folder, { layer: 0, device: 'cpu', weightType: 'float32' });
}

/** The tensor behind the module's name, changed; left out where there is none. */
const changed =
  (ending: string, change: (tensor: TensorToWrite) => TensorToWrite | undefined) =>
  (tensors: Tensors): Tensors => {
    const { [module + ending]: tensor, ...others } = tensors;
    if (tensor === undefined) throw new Error(`no ${ending}`);
    const to = change(tensor);
    return to === undefined ? others : { ...others, [module + ending]: to };
  };

const without = () => undefined;
/** One number of it. */
const withNumber = (at: number, number: number | bigint) => (tensor: TensorToWrite) => {
  const data = (tensor.data as Int32Array).slice() as Int32Array;
  data[at] = number as number;
  return { ...tensor, data };
};
/** One row less. */
const shorter = (tensor: TensorToWrite) => {
  const [rows = 1, ...others] = tensor.shape;
  const size = others.reduce((product, each) => product * each, 1);
  return {
    ...tensor,
    shape: [rows - 1, ...others],
    data: (tensor.data as Int32Array).slice(0, (rows - 1) * size),
  };
};
const ofType = (dtype: string) => (tensor: TensorToWrite) => ({ ...tensor, dtype });

const int4 = 'compressed-tensors int4';
const zeros = 'compressed-tensors int4, zeros';
const ordered = 'GPTQ, an order of inputs';
const nan16 = 0x7e00;

describe('a tensor that is not as its description says is an error that names it', () => {
  test.each<
    [string, format: string, ending: string, change: Parameters<typeof changed>[1], RegExp]
  >([
    ['codes of another size', int4, '.weight_packed', shorter, /shape \[12, 2\], got \[11, 2\]/],
    ['codes of another type', int4, '.weight_packed', ofType('U32'), /type I32, got U32/],
    ['no codes', int4, '.weight_packed', without, /got none/],
    ['no codes', 'GPTQ', '.qweight', without, /got none/],
    ['fewer scales', int4, '.weight_scale', shorter, /shape \[12, 2\], got \[11, 2\]/],
    ['no scales', int4, '.weight_scale', without, /got none/],
    [
      'a scale that is no number',
      int4,
      '.weight_scale',
      withNumber(3, 0x7fc0),
      /other than 0, got nan at element 3/,
    ],
    [
      'a scale of zero',
      int4,
      '.weight_scale',
      withNumber(3, 0),
      /other than 0, got 0 at element 3/,
    ],
    [
      'another weight_shape',
      int4,
      '.weight_shape',
      withNumber(1, 11n),
      /the numbers 12, 10, got 12, 11/,
    ],
    ['no zeros', zeros, '.weight_zero_point', without, /got none/],
    [
      'zeros of another width',
      zeros,
      '.weight_zero_point',
      shorter,
      /shape \[2, 2\], got \[1, 2\]/,
    ],
    [
      'no order',
      'compressed-tensors int4, an order of inputs',
      '.weight_g_idx',
      without,
      /got none/,
    ],
    ['no order', ordered, '.g_idx', without, /got none/],
    [
      'a group that is not there',
      ordered,
      '.g_idx',
      withNumber(4, 2),
      /groups from 0 to 1, got 2 at element 4/,
    ],
    [
      'a negative group',
      ordered,
      '.g_idx',
      withNumber(4, -1),
      /groups from 0 to 1, got -1 at element 4/,
    ],
    ['zeros of another width', 'GPTQ', '.qzeros', shorter, /shape \[2, 2\], got \[1, 2\]/],
    [
      'a scale that is no number',
      'GPTQ',
      '.scales',
      withNumber(0, nan16),
      /other than 0, got nan at element 0/,
    ],
    ['no zeros', 'AWQ', '.qzeros', without, /got none/],
    ['fewer codes', 'AWQ', '.qweight', shorter, /shape \[10, 2\], got \[9, 2\]/],
    [
      'a scale of zero',
      'ModelOpt NVFP4',
      '.weight_scale',
      withNumber(3, 0),
      /other than 0, got 0 at element 3/,
    ],
    [
      'a power that is none',
      'compressed-tensors mxfp4',
      '.weight_scale',
      withNumber(2, 255),
      /other than 0, got nan at element 2/,
    ],
    ['no factor', 'ModelOpt NVFP4', '.weight_scale_2', without, /got none/],
    ['a factor of zero', 'ModelOpt NVFP4', '.weight_scale_2', withNumber(0, 0), /above 0, got 0/],
    [
      'a divisor that is no number',
      'compressed-tensors nvfp4',
      '.weight_global_scale',
      withNumber(0, Number.NaN),
      /above 0, got NaN/,
    ],
    [
      'a scale of zero',
      'ModelOpt FP8',
      '.weight_scale',
      withNumber(0, 0),
      /other than 0, got 0 at element 0/,
    ],
    ['offsets of another type', 'MLX of 4 bits', '.biases', ofType('F16'), /type BF16, got F16/],
  ])('%s: %s', async (_, format, ending, change, message) => {
    const failure = await load(formatOf(format), { tensors: changed(ending, change) }).catch(
      (error) => error,
    );
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure.message).toContain(module + ending);
    expect(failure.message).toContain('model.safetensors');
    expect(failure.message).toMatch(message);
  });
});

describe('a description that does not go with the tensors', () => {
  test.each<[string, string, object, RegExp]>([
    ['another size of groups', 'GPTQ', { group_size: 4 }, /qzeros.*shape \[3, 2\], got \[2, 2\]/],
    ['codes of other bits', 'GPTQ', { bits: 8 }, /qweight.*shape \[3, 10\], got \[2, 10\]/],
    ['another size of groups', 'AWQ', { group_size: 16 }, /qzeros.*got \[2, 2\]/],
  ])('%s of %s', async (_, format, config, message) => {
    const failure = await load(formatOf(format), { config }).catch((error) => error);
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure.message).toMatch(message);
  });
});

describe('a form that is not read is refused with the key that says it', () => {
  const weights = (change: object) => ({
    config_groups: {
      group_0: {
        targets: ['Linear'],
        weights: { num_bits: 4, type: 'int', strategy: 'group', group_size: 8, ...change },
      },
    },
  });
  test.each<[string, object, RegExp]>([
    ['GPTQ', { bits: 3 }, /`gptq, bits `?3/],
    ['GPTQ', { group_size: 'many' }, /`gptq, group_size many`/],
    ['GPTQ', { checkpoint_format: 'marlin' }, /`gptq, checkpoint_format marlin`/],
    ['AWQ', { version: 'gemv' }, /`awq, version gemv`/],
    ['AWQ', { zero_point: false }, /`awq, zero_point /],
    ['ModelOpt FP8', { quant_algo: 'W4A8_AWQ' }, /`modelopt, quant_algo W4A8_AWQ`/],
    [int4, { format: 'marlin-24' }, /`compressed-tensors, format marlin-24`/],
    [int4, weights({ num_bits: 2 }), /`compressed-tensors, num_bits `?2/],
    [int4, weights({ strategy: 'token' }), /`compressed-tensors, strategy token`/],
    [int4, weights({ actorder: 'other' }), /`compressed-tensors, actorder other`/],
    [int4, { ignore: ['re:('] }, /`compressed-tensors, ignore \(`/],
  ])('%s %o', async (format, config, message) => {
    const failure = await load(formatOf(format), { config }).catch((error) => error);
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure.message).toContain('config.json');
    expect(failure.message).toMatch(message);
  });
});

test('a bias of zeros that GPTQ wrote is left out, and another is an error', async () => {
  const bias = (value: number): TensorToWrite => ({
    ...{
      dtype: 'F16',
      shape: [12],
      data: Uint16Array.from({ length: 12 }, (_, i) => (i === 5 ? value : 0)),
    },
  });
  const add = (value: number) => (tensors: Tensors) => ({
    ...tensors,
    [`${module}.bias`]: bias(value),
  });
  await using layer = await load(formatOf('GPTQ'), { tensors: add(0) });
  expect(layer.diagnostics.join()).toMatch(
    /1 biases.*w2\.bias.*are not read: all of their numbers are 0/,
  );
  await expect(load(formatOf('GPTQ'), { tensors: add(1) })).rejects.toThrow(/no use for.*w2\.bias/);
});
