// Matrices of GGUF's blocks, through the addon: what they stand for, what is refused of them, and bytes that are anything.
import { describe, expect, test } from 'vitest';
import { type BlockType, blockTypes } from '../../src/binding/block_types.js';
import { loadNative, type NativeLayer, type NativeLayerSpec } from '../../src/binding/native.js';
import type { LayerWeightViews, MatrixView } from '../../src/binding/views.js';
import { decodedGguf, randomBlocks, sizesOfBlock } from '../support/gguf_types.js';
import { generator, randomValues } from '../support/layers.js';
import { specOf } from './layer_spec.js';

const binding = loadNative();
const types = Object.keys(blockTypes) as BlockType[];
const tokens = 3;

/** Bytes as a source, behind `before` others. */
function sourceOf(bytes: Uint8Array, before = 0): Uint16Array {
  const source = new Uint16Array(Math.ceil((before + bytes.length) / 2));
  new Uint8Array(source.buffer).set(bytes, before);
  return source;
}

/** A matrix [size, size] at the end of a larger one, whose rows have a block more. */
function blockMatrix(type: BlockType, size: number, stored: (blocks: number) => Uint8Array) {
  const { elements } = sizesOfBlock(type);
  const [step, firstOut, byteOffset] = [size + elements, 2, 7];
  const bytes = stored(((firstOut + size) * step) / elements - 1);
  const view: MatrixView = {
    ...{ source: sourceOf(bytes, byteOffset), byteOffset, dtype: type },
    ...{ outFeatures: size, inFeatures: size, outStride: step, inStride: 1, firstOut },
  };
  return { view, bytes };
}

/** The same matrix in float32. */
function floatMatrix(view: MatrixView, bytes: Uint8Array): MatrixView {
  return {
    ...view,
    ...{ source: decodedGguf(view.dtype as BlockType, bytes), byteOffset: 0, dtype: 'float32' },
  };
}

async function outputsOf(
  spec: NativeLayerSpec,
  weights: LayerWeightViews,
  hidden: Float32Array,
): Promise<Float32Array> {
  const layer: NativeLayer = await binding.createLayer('cpu', 0, spec, weights);
  const output = new Float32Array(hidden.length);
  await layer.forward({ hidden, dtype: 'float32', tokens, output });
  await layer.close();
  return output;
}

/** The largest error, of the largest value. */
const errorOf = (outputs: Float32Array, expected: Float32Array) =>
  Math.max(...outputs.map((value, i) => Math.abs(value - (expected[i] ?? Number.NaN)))) /
  Math.max(...expected.map(Math.abs));

test('every type is declared with the sizes of its blocks', () => {
  for (const type of types) expect(blockTypes[type], type).toMatchObject(sizesOfBlock(type));
});

describe.each(types)('%s', (type) => {
  const size = 2 * sizesOfBlock(type).elements;

  test('is multiplied as the values that the format says, in part of a larger matrix', async () => {
    const [up, down] = [1, 2].map((seed) =>
      blockMatrix(type, size, (blocks) => randomBlocks(type, blocks, seed)),
    ) as [ReturnType<typeof blockMatrix>, ReturnType<typeof blockMatrix>];
    const hidden = randomValues(tokens * size, 3);
    const blocks = { experts: [{ up: up.view, down: down.view }] };
    const floats = {
      experts: [{ up: floatMatrix(up.view, up.bytes), down: floatMatrix(down.view, down.bytes) }],
    };
    const expected = await outputsOf(specOf(size, 'float32'), floats, hidden);
    expect(await outputsOf(specOf(size, 'float32'), blocks, hidden)).toEqual(expected);
    expect(Math.max(...expected)).toBeGreaterThan(0.1);
    const published = await outputsOf(specOf(size, 'published'), blocks, hidden);
    expect(errorOf(published, expected)).toBeLessThan(1e-5);
  });

  test('may be any bytes', async () => {
    for (const weightType of ['float32', 'published'] as const)
      for (let seed = 1; seed <= 3; seed++) {
        const random = generator(seed);
        const { view } = blockMatrix(type, size, (blocks) =>
          Uint8Array.from({ length: blocks * sizesOfBlock(type).bytes }, () => 256 * random()),
        );
        const weights = { experts: [{ up: view, down: view }] };
        const outputs = outputsOf(
          specOf(size, weightType),
          weights,
          randomValues(tokens * size, 3),
        );
        // Scales are numbers, or are refused.
        const said = await outputs.then(
          ({ length }) => length,
          (error: Error) => error.message,
        );
        if (typeof said === 'string') expect(said).toContain('to be finite numbers');
        else expect(said).toBe(tokens * size);
      }
  });

  const { view } = blockMatrix(type, size, (blocks) => randomBlocks(type, blocks));
  const last = (view.source as Uint16Array).subarray(0, -1);
  test.each<[string, Partial<MatrixView>, RegExp]>([
    ['inputs that are not side by side', { inStride: 2 }, /`inStride` to be 1/],
    [
      'a row that ends in a block',
      { inFeatures: size - 1 },
      /`inFeatures` to be a multiple of the \d+ el/,
    ],
    [
      'a row that begins in a block',
      { outStride: size + 1 },
      /`outStride` to be a multiple of the \d+ el/,
    ],
    [
      'a source that ends before it does',
      { source: last },
      /`up` to be inside its source of \d+ bytes/,
    ],
    ['rows behind the last one', { firstOut: 3 }, /`up` to be inside its source/],
    [
      'strides that no memory has',
      { outStride: 2 ** 53 - 2 ** 10 },
      /`up` to be inside its source/,
    ],
    ['more rows than there are', { outFeatures: 2 ** 30 }, /`up` to be inside its source/],
  ])('refuses %s', (_, wrong, message) => {
    const weights = { experts: [{ up: { ...view, ...wrong }, down: view }] };
    expect(() => binding.createLayer('cpu', 0, specOf(size, 'float32'), weights)).toThrow(message);
  });
});

test('a factor is of all elements of nvfp4, and refused for others', async () => {
  const size = 128;
  const [up, down] = [1, 2].map((seed) =>
    blockMatrix('nvfp4', size, (blocks) => randomBlocks('nvfp4', blocks, seed)),
  ) as [ReturnType<typeof blockMatrix>, ReturnType<typeof blockMatrix>];
  const [factor, hidden] = [Math.fround(1 / 3), randomValues(tokens * size, 3)];
  const scaled = floatMatrix(up.view, up.bytes);
  const values = (scaled.source as Float32Array).map((value) => value * factor);
  const floats = {
    experts: [{ up: { ...scaled, source: values }, down: floatMatrix(down.view, down.bytes) }],
  };
  const blocks = { experts: [{ up: { ...up.view, factor }, down: down.view }] };
  const expected = await outputsOf(specOf(size, 'float32'), floats, hidden);
  expect(await outputsOf(specOf(size, 'float32'), blocks, hidden)).toEqual(expected);
  expect(
    errorOf(await outputsOf(specOf(size, 'published'), blocks, hidden), expected),
  ).toBeLessThan(1e-5);

  const create = (wrong: Partial<MatrixView>) => () =>
    binding.createLayer('cpu', 0, specOf(size, 'float32'), {
      experts: [{ up: { ...up.view, ...wrong }, down: down.view }],
    });
  for (const wrong of [0, -1, Number.NaN, Infinity])
    expect(create({ factor: wrong }), `${wrong}`).toThrow(/`factor` to be a finite number above 0/);
  for (const dtype of ['mxfp4', 'float32'] as const)
    expect(create({ dtype, factor }), dtype).toThrow(/`factor` to be left out but with/);
});

test('nothing is given beside blocks that would not count', () => {
  const { view } = blockMatrix('q8_0', 64, (blocks) => randomBlocks('q8_0', blocks));
  const place = { source: new Float32Array(64), byteOffset: 0, outStride: 1, inStride: 1 };
  const beside: Partial<MatrixView> = {
    packing: 'inputs',
    scales: { ...place, dtype: 'float32', outBlock: 64, inBlock: 64 },
    zeros: { ...place, added: 0 },
    zero: 8,
  };
  for (const [name, value] of Object.entries(beside)) {
    const up = { ...view, [name]: value };
    const create = () =>
      binding.createLayer('cpu', 0, specOf(64, 'float32'), { experts: [{ up, down: view }] });
    expect(create).toThrow(`\`${name}\` to be left out with blocks`);
  }
});

test('types of GGUF that are none of ours are refused', () => {
  const { view } = blockMatrix('q8_0', 64, (blocks) => randomBlocks('q8_0', blocks));
  for (const dtype of ['q4_k', 'Q8_0', 'iq2_xxs', 'q8_K']) {
    const up = { ...view, dtype } as unknown as MatrixView;
    const create = () =>
      binding.createLayer('cpu', 0, specOf(64, 'float32'), { experts: [{ up, down: view }] });
    expect(create).toThrow(/`dtype` to be one of the known words/);
  }
});
