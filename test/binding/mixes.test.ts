// Layers whose matrices are stored in types of their own, through the addon: each is held as it is stored.
import { describe, expect, test } from 'vitest';
import { type BlockType, blockTypes } from '../../src/binding/block_types.js';
import { loadNative, type NativeLayerSpec } from '../../src/binding/native.js';
import type { ExpertView, LayerWeightViews, MatrixView } from '../../src/binding/views.js';
import { randomBlocks, sizesOfBlock } from '../support/gguf_types.js';
import { generator, randomValues } from '../support/layers.js';
import { specOf } from './layer_spec.js';

const binding = loadNative();
const [experts, size] = [5, 256];

type Type =
  | BlockType
  | 'float32'
  | 'bfloat16'
  | 'float16'
  | 'gptq'
  | 'gptq, an order of inputs'
  | 'groups of 40';
const types: readonly Type[] = [
  ...(Object.keys(blockTypes) as BlockType[]),
  ...([
    'float32',
    'bfloat16',
    'float16',
    'gptq',
    'gptq, an order of inputs',
    'groups of 40',
  ] as const),
];

const square = { outFeatures: size, inFeatures: size, outStride: size, inStride: 1 };
const place = { byteOffset: 0 };

function floats(seed: number): Float32Array {
  return Float32Array.from(randomValues(size * size, seed), (value) => value / 16);
}

/** Four bits with a scale and a zero for each group. */
function integers(inBlock: number, ordered: boolean, seed: number): MatrixView {
  const random = generator(seed);
  const groups = Math.ceil(size / inBlock);
  const bytes = (count: number) => Uint16Array.from({ length: count / 2 }, () => 65536 * random());
  const groupOf = Int32Array.from({ length: size }, () => Math.floor(groups * random()));
  const scales = Float32Array.from({ length: size * groups }, () => (1 + random()) / 128);
  const zeros = bytes((size * groups) / 2 + 1);
  return {
    ...{ ...square, ...place, source: bytes((size * size) / 2), dtype: 'uint4' },
    zeros: { ...place, source: zeros, outStride: groups, inStride: 1, added: 0 },
    scales: {
      ...{ ...place, source: scales, dtype: 'float32', outBlock: 1, inBlock },
      ...{ outStride: groups, inStride: 1 },
      ...(ordered && {
        groupOfInput: { ...place, source: new Float32Array(groupOf.buffer), name: 'order' },
      }),
    },
  };
}

function matrix(type: Type, seed: number): MatrixView {
  switch (type) {
    case 'float32':
      return { ...square, ...place, source: floats(seed), dtype: type };
    case 'bfloat16':
    case 'float16': {
      // Halves of small exponents.
      const source = Uint16Array.from(
        floats(seed),
        (value) => (value < 0 ? 0x8000 : 0) | (0x2800 + Math.abs(value) * 0x4000),
      );
      const bits = type === 'float16' ? source : source.map((half) => half | 0x3000);
      return { ...square, ...place, source: bits, dtype: type };
    }
    case 'gptq':
      return integers(64, false, seed);
    case 'gptq, an order of inputs':
      return integers(64, true, seed);
    case 'groups of 40':
      return integers(40, false, seed);
    default: {
      const bytes = randomBlocks(type, (size * size) / sizesOfBlock(type).elements, seed);
      const source = new Uint16Array(bytes.length / 2);
      new Uint8Array(source.buffer).set(bytes);
      return { ...square, ...place, source, dtype: type };
    }
  }
}

/** Weights of matrices of any types, the gate's often another than that of up. */
function mix(seed: number, chosen = types): LayerWeightViews {
  const random = generator(seed);
  let next = 100 * seed;
  const any = () => matrix(chosen[Math.floor(chosen.length * random())] as Type, next++);
  const expert = (): ExpertView => ({ gate: any(), up: any(), down: any() });
  const router = {
    ...square,
    outFeatures: experts,
    ...place,
    source: floats(7),
    dtype: 'float32',
  } as const;
  return { router, experts: Array.from({ length: experts }, expert), shared: expert() };
}

async function run(spec: NativeLayerSpec, weights: LayerWeightViews, tokens: number) {
  const layer = await binding.createLayer('cpu', 0, spec, weights);
  const hidden = Float32Array.from(randomValues(tokens * size, 3));
  const output = new Float32Array(hidden.length);
  await layer.forward({ hidden, dtype: 'float32', tokens, output });
  const { weightBytes } = layer;
  await layer.close();
  return { output, weightBytes };
}

describe.each([1, 2, 3, 4, 5, 6])('mix %i', (seed) => {
  const weights = mix(seed);
  const spec = (
    weightType: NativeLayerSpec['weightType'],
    activationType: 'float' | 'int8' = 'float',
  ) => {
    const swiglu = { kind: 'swiglu', alpha: 1, limit: Infinity, clamp: 'before' } as const;
    const { moe, ...rest } = specOf(size, weightType, { activationType, sharedSize: size });
    const chosen = { ...moe, expertNum: experts, numExpertsChosen: 2 };
    return { ...rest, moe: chosen, activation: swiglu, sharedActivation: swiglu };
  };

  test.each([1, 3, 40])('gives the bits of float32 to %i tokens', async (tokens) => {
    const widened = await run(spec('float32'), weights, tokens);
    const published = await run(spec('published'), weights, tokens);
    expect(Math.max(...widened.output)).toBeGreaterThan(0.01);
    expect(published.output).toEqual(widened.output);
    expect(published.weightBytes).toBeLessThan(0.6 * widened.weightBytes);
  });

  test('multiplies rows of int8 where codes let it', async () => {
    const { output: exact } = await run(spec('published'), weights, 40);
    const { output } = await run(spec('published', 'int8'), weights, 40);
    const most = Math.max(...exact.map(Math.abs));
    const error = Math.max(...output.map((value, i) => Math.abs(value - (exact[i] as number))));
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(0.05 * most);
  });
});
