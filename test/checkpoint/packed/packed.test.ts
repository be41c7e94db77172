import { copyFile, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { OutputFile } from '../../../src/base/output_file.js';
import { SafetensorsFile } from '../../../src/checkpoint/containers/file.js';
import { packCheckpoint } from '../../../src/checkpoint/packed/write.js';
import {
  CheckpointError,
  ConfigError,
  type LayerOptions,
  MoECheckpoint,
  MoEConfig,
  type MoEConfigOptions,
  MoELayer,
} from '../../../src/index.js';
import { partsOf } from '../../../src/layer/parts.js';
import { cases, seeded } from '../../cases.js';
import { activations, nodeMoe, nodeMoeJson, tinyMixtral } from '../../fixtures/command_line.js';
import { modelFixtures } from '../../fixtures/families.js';
import { temporaryFolder } from '../../fixtures/temporary_folder.js';
import { writeModel } from '../../fixtures/write_model.js';
import { float32Tensor, randomValues, smallLayer } from '../../support/layers.js';

interface Packed {
  out: string;
  layers: number[];
  weightType: string;
  layout: string;
  bytes: number;
}

async function pack(checkpoint: string, ...options: string[]): Promise<Packed> {
  const out = join(await temporaryFolder(), 'packed.safetensors');
  return nodeMoeJson<Packed>(['pack', checkpoint, '--out', out, ...options]);
}

/** Replaces text in a file's header by other text of the same length. */
async function patched(path: string, from: string, to: string): Promise<string> {
  expect(to.length).toBe(from.length);
  const bytes = await readFile(path);
  const at = bytes.indexOf(from);
  expect(at).toBeGreaterThan(0);
  bytes.write(to, at);
  const copy = join(await temporaryFolder(), 'patched.safetensors');
  await writeFile(copy, bytes);
  return copy;
}

test.each([
  ['float32', undefined],
  ['bfloat16', undefined],
  ['float16', undefined],
  ['int8', 'all'],
  ['int8', 64],
  ['int4', undefined],
] as const)('a layer packed in %s, group %s, is the layer', async (weightType, weightGroup) => {
  const group = weightGroup === undefined ? [] : ['--weight-group', String(weightGroup)];
  const { out, layers, bytes } = await pack(tinyMixtral, '--weight-type', weightType, ...group);
  expect(layers).toEqual([0, 1, 2, 3]);
  expect((await stat(out)).size).toBe(bytes);
  const hidden = randomValues(9 * 128, 4);
  for (const layer of [0, 3]) {
    await using direct = await MoELayer.load(tinyMixtral, { layer, weightType, weightGroup });
    await using packed = await MoELayer.load(out, { layer });
    expect(packed).toMatchObject({
      weightType,
      activation: 'swiglu',
      weightBytes: direct.weightBytes,
    });
    expect(packed.config.toJSON()).toEqual(direct.config.toJSON());
    const result = await packed.forward(hidden, { routing: true });
    expect(result).toEqual(await direct.forward(hidden, { routing: true }));
  }
});

const fixtures = modelFixtures.filter(({ name }) =>
  ['qwen2_moe', 'deepseek_v3', 'gpt_oss', 'mindformers, mapping and projection'].includes(name),
);
test.each(fixtures.map((model) => [model.name, model] as const))(
  'shared experts, biases and activations of %s are packed too',
  async (_, model) => {
    const { folder } = await writeModel(model);
    const { out } = await pack(folder, '--weight-type', 'int8');
    const hidden = randomValues(7 * model.sizes.H, 4);
    const [layer] = model.layers;
    await using direct = await MoELayer.load(folder, { layer, weightType: 'int8' });
    await using packed = await MoELayer.load(out, { layer });
    const result = await packed.forward(hidden, { routing: true });
    expect(result).toEqual(await direct.forward(hidden, { routing: true }));
  },
);

test.each(
  cases.filter(({ experts }) => experts !== undefined).map((shape) => [shape.name, shape] as const),
)('what experts compute is packed too: %s', async (_, shape) => {
  const { options, hidden } = seeded(shape);
  const config = new MoEConfig(options.config as MoEConfigOptions);
  const source = {
    ...{ path: 'memory', modelType: 'none', config },
    parts: async () => partsOf({ ...options, device: 'cpu' }),
    expectAlike() {},
    tensorsOf: async () => [],
  } as unknown as MoECheckpoint;
  const out = join(await temporaryFolder(), 'packed.safetensors');
  const { signal } = new AbortController();
  await using output = await OutputFile.open('--out', out, { outOfOrder: true });
  await packCheckpoint(source, output, { layers: [0], signal });
  await using direct = await MoELayer.create({ ...options, device: 'cpu' });
  await using packed = await MoELayer.load(out);
  expect(await packed.forward(hidden)).toEqual(await direct.forward(hidden));
  expect(packed.weightBytes).toBe(direct.weightBytes);
});

test('a layer packed for integer products is the layer, and says so', async () => {
  const int4 = ['--weight-type', 'int4', '--activation-type', 'int8'];
  const { out, layout } = await pack(tinyMixtral, ...int4);
  expect(layout).toMatch(/integer products/);
  const options = { layer: 1, weightType: 'int4', activationType: 'int8' } as const;
  await using direct = await MoELayer.load(tinyMixtral, options);
  await using packed = await MoELayer.load(out, { layer: 1 });
  const hidden = randomValues(9 * 128, 4);
  expect(await packed.forward(hidden)).toEqual(await direct.forward(hidden));
  await expect(MoELayer.load(out, { layer: 1, activationType: 'float' })).rejects.toThrow(
    /`activationType` to be left out or `int8`/,
  );
});

test('every part of whole cache lines begins at one', async () => {
  const { out } = await pack(tinyMixtral, '--weight-type', 'int4', '--layer', '1,2');
  const { tensors, metadata } = await SafetensorsFile.open(out);
  expect([...tensors.keys()].sort()).toEqual(
    [1, 2].flatMap((n) => ['down', 'router', 'up'].map((part) => `layers.${n}.packed.${part}`)),
  );
  for (const { byteOffset } of tensors.values()) expect(byteOffset % 64).toBe(0);
  expect(metadata.get('source')).toBe(tinyMixtral);
});

test('a packed checkpoint may route in another way, and runs from the command line', async () => {
  const { out } = await pack(tinyMixtral, '--weight-type', 'int8');
  await using checkpoint = await MoECheckpoint.open(out);
  expect(checkpoint).toMatchObject({ modelType: 'mixtral', weightType: 'int8', hiddenSize: 128 });
  const config = { routingPolicy: 'TopkRouterV1', capacityFactor: 1 } as const;
  await using layer = await checkpoint.load(0, { config });
  expect((await layer.forward(randomValues(64 * 128, 1))).capacity).toBe(16);
  const { layers } = await nodeMoeJson<{ layers: { expected: { relativeError: number } }[] }>([
    ...['run', out, '--layer', 'all', '--input', activations, '--expect'],
  ]);
  for (const { expected } of layers) expect(expected.relativeError <= 0.01).toBe(true);
});

describe('refused', () => {
  const loading = (path: string) => MoELayer.load(path, { layer: 0 });

  test('another version of the format', async () => {
    const { out } = await pack(tinyMixtral);
    const changed = await patched(out, '"version":"1"', '"version":"7"');
    await expect(loading(changed)).rejects.toBeInstanceOf(CheckpointError);
    await expect(loading(changed)).rejects.toThrow(/version 1, .*got `7`.*pack .* again/);
  });

  test('another layout', async () => {
    const { out, layout } = await pack(tinyMixtral);
    const changed = await patched(
      out,
      `"layout":"${layout}"`,
      `"layout":"${layout.replace(/^2/, '9')}"`,
    );
    await expect(loading(changed)).rejects.toBeInstanceOf(CheckpointError);
    await expect(loading(changed)).rejects.toThrow(
      /packed as `3: panels.*got `9: panels.*pack .* again/,
    );
    await expect(loading(changed)).rejects.toThrow(`Layer 0 of ${changed}`);
  });

  test.runIf(process.arch === 'x64')('the layout of other instructions', async () => {
    const { out, layout } = await pack(tinyMixtral);
    const { code, stderr } = await nodeMoe(['run', out, '--layer', '0', '--input', activations], {
      MOE_CPU_ISA: layout.includes(' 4 lanes') ? 'avx2' : 'baseline',
    });
    expect(code).toBe(1);
    expect(stderr).toContain(`got \`${layout}\``);
  });

  test('parts of other sizes', async () => {
    const { out } = await pack(tinyMixtral);
    const changed = await patched(out, '\\"hiddenSize\\":128', '\\"hiddenSize\\":256');
    await expect(loading(changed)).rejects.toThrow(
      /packed part `router` to have \d+ bytes, got \d+/,
    );
  });

  test('metadata that is damaged', async () => {
    const { out } = await pack(tinyMixtral, '--weight-type', 'int8');
    const changed = await patched(out, '\\"weightType\\":\\"int8', '\\"weightType\\":\\"int9');
    await expect(loading(changed)).rejects.toThrow(/metadata of .*`weightType`/);
  });

  test('other weights or another device than it was packed for', async () => {
    const { out } = await pack(tinyMixtral, '--weight-type', 'int4');
    await expect(MoELayer.load(out, { layer: 0, weightType: 'int8' })).rejects.toThrow(
      /`weightType` to be left out or `int4`.*got `int8`/,
    );
    await expect(MoELayer.load(out, { layer: 0, weightGroup: 64 })).rejects.toThrow(
      /`weightGroup` to be left out or `32`.*got `64`/,
    );
    await expect(MoELayer.load(out, { layer: 0, device: 'cuda' })).rejects.toBeInstanceOf(
      ConfigError,
    );
    await using same = await MoELayer.load(out, { layer: 0, weightType: 'int4', device: 'cpu' });
    expect(same.weightType).toBe('int4');
  });

  test('a file to write that is read, or cannot be written', async () => {
    const folder = await temporaryFolder();
    const copy = join(folder, 'model.safetensors');
    await copyFile(`${tinyMixtral}/model.safetensors`, copy);
    await copyFile(`${tinyMixtral}/config.json`, join(folder, 'config.json'));
    const onto = await nodeMoe(['pack', folder, '--out', copy]);
    expect(onto).toMatchObject({ code: 1 });
    expect(onto.stderr).toContain('which is read');
    const nowhere = await nodeMoe(['pack', folder, '--out', join(folder, 'none', 'x.safetensors')]);
    expect(nowhere).toMatchObject({ code: 1 });
    const before = await readFile(`${tinyMixtral}/model.safetensors`);
    expect(before.equals(await readFile(copy))).toBe(true);
  });
});

test('factors of experts and tables of choices are packed too, and layers of other kinds refused', async () => {
  const { weights, ...options } = smallLayer({
    E: 4,
    K: 2,
    H: 16,
    I: 8,
    config: { zeroExpertNum: 1 },
  });
  const optionsOf = (beside: object): LayerOptions => ({
    ...options,
    weights: {
      ...weights,
      router: float32Tensor(randomValues(5 * 16, 1), [5, 16]),
      expertScale: float32Tensor(randomValues(4, 2), [4]),
      ...beside,
    },
  });
  const expertTable = Int32Array.of(0, 1, 4, 2, 3, 3);
  await using layer = await MoELayer.create(optionsOf({ expertTable }));
  const plain = { 0: { expertTable }, 1: { expertTable }, 2: {} };
  const checkpoint = {
    config: layer.config,
    modelType: 'made up',
    path: 'nowhere',
    parts: async (number: 0 | 1 | 2) => partsOf(optionsOf(plain[number])),
    expectAlike() {},
    tensorsOf: async () => [],
  } as unknown as MoECheckpoint;
  const path = join(await temporaryFolder(), 'packed.safetensors');
  const pack = async (layers: number[]) => {
    const { signal } = new AbortController();
    await using output = await OutputFile.open('out', path);
    await packCheckpoint(checkpoint, output, { layers, signal });
  };
  await pack([0, 1]);
  const parts = layer.native.packed().parts.map(({ byteLength }) => byteLength);
  expect(layer.weightBytes).toBe(parts.reduce((sum, bytes) => sum + bytes));
  await using packed = await MoELayer.load(path, { layer: 1 });
  const [hidden, tokenIds] = [randomValues(3 * 16, 3), Int32Array.of(2, 0, 1)];
  expect(await packed.forward(hidden, { tokenIds, routing: true })).toEqual(
    await layer.forward(hidden, { tokenIds, routing: true }),
  );
  await expect(pack([0, 2])).rejects.toThrow('Expected every layer to have the parts');
});
