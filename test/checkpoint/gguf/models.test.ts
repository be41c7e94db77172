import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ggufModel } from '../../../bench/gguf/model.mjs';
import { ggufTypes } from '../../../bench/gguf/types.mjs';
import { type GgufTypeName, writeGguf } from '../../../bench/gguf/write.mjs';
import type { ModelLoadOptions } from '../../../src/model/options.js';
import { temporaryFolder } from '../../fixtures/temporary_folder.js';
import { writtenModel } from '../../model/fixture.js';
import { logitsOf, textOf, withModel } from '../../model/running.js';
import { decodedGguf } from '../../support/gguf_types.js';
import { ggufOf } from '../../witness/llama.js';
import { type WitnessModel, witnessModels, witnessVocabulary } from '../../witness/models.js';

const tokens = textOf(40, witnessVocabulary);
const cpu = { device: 'cpu' } as const;

/** gpt-oss' borders of frequencies are not rounded, which its files do not say. */
const published = ({ config, ...model }: WitnessModel): WitnessModel => ({
  ...model,
  config:
    config['model_type'] === 'gpt_oss'
      ? { ...config, rope_scaling: { ...(config['rope_scaling'] as object), truncate: false } }
      : config,
});
const models = witnessModels.map(published);
const modelOf = (name: string) => {
  const found = models.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no model ${name}`);
  return found;
};

async function writtenGguf(
  { metadata, tensors }: ReturnType<typeof ggufModel>,
  name = 'model.gguf',
): Promise<string> {
  const path = join(await temporaryFolder(), name);
  await writeGguf(path, metadata, tensors);
  return path;
}

const logitsAt = (path: string, options: ModelLoadOptions = {}) =>
  withModel(path, { ...cpu, kvType: 'float32', ...options }, (model) => logitsOf(model, tokens));

/** The values that a tensor's blocks stand for. */
const decoded = (tensor: ReturnType<typeof ggufModel>['tensors'][number]): typeof tensor => ({
  ...tensor,
  type: 'F32',
  *rows() {
    for (const row of tensor.rows())
      yield tensor.type === 'F32'
        ? row
        : decodedGguf(
            tensor.type,
            row instanceof Float32Array ? ggufTypes[tensor.type].encode(row) : row,
          );
  },
});

describe('weights of safetensors give the same bits', () => {
  test.each(models.map((model) => [model.name, model] as const))('%s', async (_, model) => {
    const before = await logitsAt(await writtenModel(model));
    const after = await logitsAt(await writtenGguf(ggufOf(model, 'F32')));
    expect(after.every(Number.isFinite)).toBe(true);
    expect(after).toEqual(before);
  });
});

const typesOf32 = Object.entries(ggufTypes)
  .filter(([name, { block }]) => block === 32 && name !== 'F32')
  .map(([name]) => name as GgufTypeName);

describe('blocks give the bits of their values', () => {
  test.each(typesOf32)('%s', async (type) => {
    for (const name of ['mixtral', 'qwen3_moe', 'deepseek_v2', 'gpt_oss']) {
      const inBlocks = ggufOf(modelOf(name), type);
      const { metadata, tensors } = inBlocks;
      const values = { metadata, tensors: tensors.map(decoded) };
      const path = await writtenGguf(inBlocks);
      const expected = await logitsAt(await writtenGguf(values), { weightType: 'float32' });
      expect(await logitsAt(path), name).toEqual(expected);
      // Converted, too, it is made of the same values.
      expect(await logitsAt(path, { weightType: 'float32' }), name).toEqual(expected);
    }
  });
});

describe('factors beside NVFP4', () => {
  const isHeld = (name: string) => /(_exps|_shexp|attn_(?!\w*norm)\w+|output)\.weight$/.test(name);
  type Tensors = ReturnType<typeof ggufModel>['tensors'];
  /** A factor of each expert, or of a whole tensor, as llama.cpp's converter writes them. */
  const withFactors = (tensors: Tensors): (Tensors[number] & { factors?: Float32Array })[] =>
    tensors.flatMap((tensor) => {
      const { name, shape } = tensor;
      if (!isHeld(name) || (shape.at(-1) as number) % 64 !== 0) return [tensor];
      const factors = Float32Array.from(
        { length: shape.length === 3 ? (shape[0] as number) : 1 },
        (_, i) => 0.3 + ((name.length + 7 * i) % 11) / 9,
      );
      const beside = (ending: string) => ({
        ...{ name: name.replace('weight', ending), type: 'F32' as const, shape: [factors.length] },
        rows: () => [factors],
      });
      return [
        { ...tensor, type: 'NVFP4' as const, factors },
        beside('scale'),
        beside('input_scale'),
      ];
    });
  /** The values that codes, scales and factors stand for. */
  const multiplied = (tensors: ReturnType<typeof withFactors>): Tensors =>
    tensors.flatMap((tensor) => {
      if (/scale$/.test(tensor.name)) return [];
      const { factors, ...inBlocks } = tensor;
      if (factors === undefined) return [tensor];
      const values = decoded(inBlocks);
      const each = tensor.shape.slice(0, -1).reduce((a, b) => a * b, 1) / factors.length;
      return [
        {
          ...values,
          *rows() {
            let row = 0;
            for (const stretch of values.rows()) {
              const rows = stretch.length / (tensor.shape.at(-1) as number);
              const factor = factors[Math.floor(row / each)] as number;
              yield Float32Array.from(stretch as Float32Array, (value) => value * factor);
              row += rows;
            }
          },
        },
      ];
    });

  test.each(['mixtral', 'qwen2_moe', 'deepseek_v2'])('count in %s', async (name) => {
    const { metadata, tensors } = ggufOf(modelOf(name), 'F32');
    const factored = withFactors(tensors);
    expect(factored.length).toBeGreaterThan(tensors.length + 10);
    const path = await writtenGguf({ metadata, tensors: factored });
    const values = await writtenGguf({ metadata, tensors: multiplied(factored) });
    const expected = await logitsAt(values, { weightType: 'float32' });
    expect(await logitsAt(path, { weightType: 'float32' })).toEqual(expected);
    expect(await logitsAt(path)).toEqual(expected);
  });

  test.each([
    [[0], 'a finite number above 0, got 0'],
    [[Number.NaN], 'a finite number above 0, got NaN'],
    [[1, 1], 'shape [1], got [2]'],
  ])('of %s are an error that names the tensor', async (factors, text) => {
    const { metadata, tensors } = ggufOf(modelOf('mixtral'), 'F32');
    const wrong = withFactors(tensors).map((tensor) =>
      tensor.name === 'blk.1.attn_q.scale'
        ? { ...tensor, shape: [factors.length], rows: () => [Float32Array.from(factors)] }
        : tensor,
    );
    const path = await writtenGguf({ metadata, tensors: wrong });
    const failure = await logitsAt(path).catch((error: Error) => error.message);
    expect(failure).toContain('model.layers.1.self_attn.q_proj.scale');
    expect(failure).toContain(text);
  });

  test('beside weights of another type are refused', async () => {
    const { metadata, tensors } = ggufOf(modelOf('mixtral'), 'F32');
    const plain = withFactors(tensors).map((tensor) =>
      tensor.name === 'blk.1.ffn_up_exps.weight' ? { ...tensor, type: 'F32' as const } : tensor,
    );
    const path = await writtenGguf({ metadata, tensors: plain });
    const failure = await logitsAt(path).catch((error: Error) => error.message);
    expect(failure).toContain('no tensor that this layer has no use for');
    expect(failure).toContain('w3.scale');
  });
});
