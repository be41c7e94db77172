import { describe, expect, test } from 'vitest';
import type { MatrixView } from '../../src/binding/views.js';
import { hasScales, weightFormatNames, weightFormats } from '../../src/binding/weight_formats.js';
import { ConfigError, type LayerOptions, MoELayer, type WeightType } from '../../src/index.js';
import { commonType } from '../../src/layer/weights.js';
import {
  nodeMoe,
  nodeMoeJson,
  activations as recorded,
  tinyMixtral,
} from '../fixtures/command_line.js';
import { relativeError } from '../reference/layer.js';
import { toBits } from '../support/floats.js';
import { float32Tensor, randomValues } from '../support/layers.js';

const [E, H, I] = [4, 136, 70];
const weights = {
  router: float32Tensor(randomValues(E * H, 1), [E, H]),
  gate: float32Tensor(randomValues(E * I * H, 2), [E, I, H]),
  up: float32Tensor(randomValues(E * I * H, 3), [E, I, H]),
  down: float32Tensor(randomValues(E * H * I, 4), [E, H, I]),
};
const config = {
  expertNum: E,
  numExpertsChosen: 2,
  routingPolicy: 'TopkRouterV2',
  capacityFactor: -1,
} as const;
const create = (options: Partial<LayerOptions>) =>
  MoELayer.create({
    config,
    hiddenSize: H,
    intermediateSize: I,
    weights,
    device: 'cpu',
    ...options,
  });
const hidden = randomValues(30 * H, 5);

async function outputOf(options: Partial<LayerOptions>): Promise<Float32Array> {
  await using layer = await create(options);
  return (await layer.forward(hidden)).output;
}

test('floats of several types are held each in its own, where the device can', async () => {
  const bits = (count: number, seed: number) =>
    Uint16Array.from(randomValues(count, seed), (value) => toBits('bfloat16', value));
  const shared = {
    gate: { dtype: 'bfloat16', shape: [I, H], data: bits(I * H, 6) },
    up: { dtype: 'bfloat16', shape: [I, H], data: bits(I * H, 7) },
    down: { dtype: 'bfloat16', shape: [H, I], data: bits(H * I, 8) },
  } as const;
  const both = { weights: { ...weights, shared }, config: { ...config, sharedExpertNum: 1 } };
  await using layer = await create(both);
  await using widened = await create({ ...both, weightType: 'float32' });
  expect(layer.weightType).toBe('published');
  expect((await layer.forward(hidden)).output).toEqual((await widened.forward(hidden)).output);
  // Panels round sizes up.
  expect(widened.weightBytes - layer.weightBytes).toBeGreaterThan(0.9 * 2 * 3 * I * H);
  const views = ['float32', 'bfloat16'].map((dtype) => ({ dtype }) as MatrixView);
  const withoutPublished = [{ type: 'float32', groups: [], activationTypes: [] } as const];
  expect(commonType(views, () => withoutPublished as never)).toBe('float32');
});

describe('rows of bfloat16', () => {
  test.each(weightFormatNames)(
    'beside %s weights are those that were rounded',
    async (weightType) => {
      const float = await outputOf({ weightType });
      const rounded = await outputOf({ weightType, activationType: 'bfloat16' });
      const error = relativeError(rounded, [...float]);
      expect(error).toBeLessThan(5e-3);
      expect(error).toBeGreaterThan(5e-4);
    },
  );
});

describe('integer weights', () => {
  test.each([
    ['int8', 'all', 0.02],
    ['int8', 128, 0.02],
    ['int8', 64, 0.015],
    ['int8', 32, 0.012],
    ['int4', 128, 0.2],
    ['int4', 64, 0.18],
    ['int4', 32, 0.16],
  ] as const)(
    '%s in groups of %s are near the float32 layer',
    async (weightType, weightGroup, most) => {
      const exact = [...(await outputOf({}))];
      for (const activationType of ['float', 'int8'] as const) {
        const output = await outputOf({ weightType, weightGroup, activationType });
        const error = relativeError(output, exact);
        expect(error <= most * (activationType === 'int8' ? 1.4 : 1), `${error}`).toBe(true);
        expect(error).toBeGreaterThan(most / 20);
      }
    },
  );

  test('groups default to 32 and products to float32', async () => {
    for (const weightType of ['int8', 'int4'] as const)
      expect(await outputOf({ weightType })).toEqual(
        await outputOf({ weightType, weightGroup: 32, activationType: 'float' }),
      );
  });

  test('a smaller type weighs less', async () => {
    const bytesOf = async (options: Partial<LayerOptions>) => {
      await using layer = await create(options);
      return layer.weightBytes;
    };
    const bfloat16 = await bytesOf({ weightType: 'bfloat16' });
    const int8 = await bytesOf({ weightType: 'int8' });
    expect(int8).toBeLessThan(0.7 * bfloat16);
    expect(await bytesOf({ weightType: 'int4' })).toBeLessThan(0.7 * int8);
    expect(await bytesOf({ weightType: 'int8', weightGroup: 128 })).toBeLessThan(int8);
  });

  test.each(weightFormatNames)(
    '%s weighs its bits, and a bfloat16 for each scale',
    async (weightType) => {
      const [hiddenSize, intermediateSize] = [256, 128];
      const zeros = (...shape: number[]) =>
        float32Tensor(new Float32Array(shape.reduce((a, b) => a * b)), shape);
      const up = zeros(E, intermediateSize, hiddenSize);
      const down = zeros(E, hiddenSize, intermediateSize);
      const sized = { hiddenSize, intermediateSize };
      const bytesOf = async (type: WeightType) => {
        const given = { router: zeros(E, hiddenSize), gate: up, up, down };
        await using layer = await create({ ...sized, weights: given, weightType: type });
        return layer.weightBytes;
      };
      const { bits } = weightFormats[weightType];
      const saved = (await bytesOf('float32')) - (await bytesOf(weightType));
      const perScale = hasScales(weightType) ? 16 / 32 : 0;
      expect((8 * saved) / (3 * E * hiddenSize * intermediateSize)).toBe(32 - bits - perScale);
    },
  );

  test.each([
    [{ weightGroup: 32 }, /no `weightGroup`: float32 weights have no scales/],
    [{ weightType: 'bfloat16', weightGroup: 32 }, /no `weightGroup`: bfloat16/],
    [
      { weightType: 'published', weightGroup: 32 },
      /no `weightGroup`: published weights have the groups that they were published with/,
    ],
    [{ weightType: 'int4', weightGroup: 'all' }, /`weightGroup` to be 32 or 64 or 128, got `all`/],
    [
      { weightType: 'int8', weightGroup: 16 },
      /`weightGroup` to be 32 or 64 or 128 or 'all', got `16`/,
    ],
    [
      { activationType: 'int8' },
      /`activationType` 'int8' with weightType 'int8' or 'int4' or 'published', got 'float32'/,
    ],
    [
      { weightType: 'int8', activationType: 'int4' },
      /`activationType` to be 'float' or 'bfloat16' or 'int8'/,
    ],
  ])('%o is refused', async (options, message) => {
    await expect(create(options as never)).rejects.toThrow(message);
    await expect(create(options as never)).rejects.toBeInstanceOf(ConfigError);
  });
});

test('the command line takes types, groups and products', async () => {
  const run = ['run', tinyMixtral, '--layer', '0', '--input', recorded, '--expect'];
  const errorOf = async (...options: string[]) => {
    const { layers } = await nodeMoeJson<{ layers: { expected: { relativeError: number } }[] }>([
      ...run,
      ...options,
    ]);
    return layers[0]?.expected.relativeError ?? Number.NaN;
  };
  const int8 = await errorOf('--weight-type', 'int8', '--weight-group', 'all');
  const int4 = await errorOf('--weight-type', 'int4');
  const products = await errorOf('--weight-type', 'int8', '--activation-type', 'int8');
  expect(int8 > 1e-4 && int8 <= 0.01, `${int8}`).toBe(true);
  expect(int4 > 0.01 && int4 <= 0.1, `${int4}`).toBe(true);
  expect(products > 1e-4 && products <= 0.015, `${products}`).toBe(true);

  const wrong = await nodeMoe([...run, '--weight-type', 'int4', '--weight-group', '7']);
  expect(wrong).toMatchObject({ code: 2 });
  expect(wrong.stderr).toContain('Expected one of 32, 64, 128, all, got `7`');
});
