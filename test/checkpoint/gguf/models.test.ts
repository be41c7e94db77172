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
