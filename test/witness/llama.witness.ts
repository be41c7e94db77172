// Whole models against llama.cpp, which knows nothing of the package and of its tests: the same weights, in a checkpoint for
// ours and in a GGUF file for it. Where they differ, the decoder in float64 says who is wrong.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { llamaLibraries } from '../../bench/compare/install.mjs';
import { ggufTypes } from '../../bench/gguf/types.mjs';
import type { GgufTypeName } from '../../bench/gguf/write.mjs';
import { writtenModel } from '../model/fixture.js';
import { logitsOf, textOf, withModel, worstError } from '../model/running.js';
import { decoderLogits } from '../reference/decoder.js';
import { decodedGguf } from '../support/gguf_types.js';
import { llamaLogits, storedModel } from './llama.js';
import { type WitnessModel, witnessModels, witnessVocabulary } from './models.js';

const tokens = textOf(48, witnessVocabulary);
/** Both compute in float32: each layer adds about 1e-6 on either side. */
const perLayer = 5e-6;

let libraries: string;
beforeAll(async () => {
  ({ libraries } = await llamaLibraries());
});

type Checkpoint = Pick<WitnessModel, 'config' | 'tensors'>;
const ourLogits = async (model: Checkpoint) =>
  withModel(
    await writtenModel(model),
    { weightType: 'float32', kvType: 'float32', threads: 2, device: 'cpu' },
    (loaded) => logitsOf(loaded, tokens),
  );
const theirLogits = (model: Checkpoint, type?: GgufTypeName) =>
  llamaLogits(libraries, model, tokens, type);

const rowsOf = (logits: Float32Array, width: number = witnessVocabulary) =>
  Array.from({ length: logits.length / width }, (_, t) => [
    ...logits.subarray(t * width, (t + 1) * width),
  ]);

/** A position's error in the middle of all: rounding sends a token to another expert here and there, a fault changes all. */
function middleError(actual: Float32Array, expected: Float32Array): number {
  const rows = rowsOf(expected);
  const errors = rowsOf(actual).map((row, t) =>
    worstError(Float32Array.from(row), [rows[t] as number[]]),
  );
  return errors.sort((a, b) => a - b)[errors.length >> 1] as number;
}

const differences: Record<string, object> = {};
afterAll(() => console.table(differences));

const nameOf = ({ name }: WitnessModel) => name;
const named = (name: string): WitnessModel => {
  const found = witnessModels.find((model) => model.name === name);
  if (found === undefined) throw new Error(`no model ${name}`);
  return found;
};

test.each(
  witnessModels.filter(({ exact }) => exact).map((model) => [nameOf(model), model] as const),
)('%s: logits are llama.cpp’s', async (name, model) => {
  const theirs = await theirLogits(model);
  const ours = await ourLogits(model);
  const difference = worstError(ours, rowsOf(theirs));
  const reference = decoderLogits(model.decoder, tokens);
  const apart = {
    ...{ 'from theirs': difference, 'ours from float64': worstError(ours, reference) },
    'theirs from float64': worstError(theirs, reference),
  };
  differences[name] = apart;
  expect(difference, JSON.stringify(apart)).toBeLessThan(perLayer * model.decoder.layers.length);
});

/** llama.cpp multiplies these with rows that it has rounded before: to float16, bfloat16, or blocks of int8. */
describe('weights that both have alike in fewer bits', () => {
  const stored = (model: Checkpoint, type: GgufTypeName): Checkpoint => ({
    ...model,
    tensors: Object.fromEntries(
      Object.entries(model.tensors).map(([name, tensor]) => [
        name,
        tensor.shape.length === 1 || name.endsWith('mlp.gate.weight')
          ? tensor
          : {
              ...tensor,
              data: decodedGguf(type, ggufTypes[type].encode(tensor.data as Float32Array)),
            },
      ]),
    ),
  });

  test.each([
    ['F16', 0.003],
    ['BF16', 0.02],
    ['Q8_0', 0.05],
    ['Q4_0', 0.05],
  ] as const)('qwen3_moe, %s', async (type, tolerance) => {
    const model = stored(named('qwen3_moe'), type);
    await expectNear(`qwen3_moe, ${type}`, await theirLogits(model, type), model, tolerance);
  });

  test('gpt_oss, MXFP4', async () => {
    const model = named('gpt_oss, MXFP4');
    await expectNear('gpt_oss, MXFP4', await theirLogits(model), model, 0.05);
  });

  async function expectNear(
    name: string,
    theirs: Float32Array,
    model: Checkpoint,
    tolerance: number,
  ): Promise<void> {
    const difference = middleError(await ourLogits(model), theirs);
    differences[name] = { 'from theirs': difference };
    expect(difference).toBeLessThan(tolerance);
  }
});

describe('a fault is seen', () => {
  const theirs = new Map<string, Promise<Float32Array>>();
  const without = (pattern: RegExp) => (model: Checkpoint) => ({
    ...model,
    tensors: Object.fromEntries(
      Object.entries(model.tensors).filter(([name]) => !pattern.test(name)),
    ),
  });
  const saying = (keys: object) => (model: Checkpoint) => ({
    ...model,
    config: { ...model.config, ...keys },
  });
  const filled = (pattern: RegExp, value: number) => (model: Checkpoint) => ({
    ...model,
    tensors: Object.fromEntries(
      Object.entries(model.tensors).map(([name, tensor]) => [
        name,
        pattern.test(name)
          ? { ...tensor, data: (tensor.data as Float32Array).map(() => value) }
          : tensor,
      ]),
    ),
  });

  test.each([
    ['another base of positions', 'mixtral', saying({ rope_theta: 505 })],
    ['another epsilon', 'olmoe', saying({ rms_norm_eps: 2e-4 })],
    ['weights that are not divided by their sum', 'qwen3_moe', saying({ norm_topk_prob: false })],
    [
      'norms of heads that are missing',
      'glm4_moe',
      (model: Checkpoint) => without(/self_attn\.[qk]_norm/)(saying({ use_qk_norm: false })(model)),
    ],
    ['a norm without its weight', 'dots1', filled(/\.1\.input_layernorm/, 1)],
    ['a shared expert’s gate that is open', 'qwen2_moe', filled(/shared_expert_gate/, 0)],
    ['a group more', 'deepseek_v3, groups, yarn', saying({ topk_group: 3 })],
    ['a choice without its bias', 'dots1', filled(/correction_bias/, 0)],
    ['a window of a token more', 'gpt_oss', saying({ sliding_window: 10 })],
    ['sinks of another size', 'gpt_oss', filled(/sinks/, 0)],
    ['another growth of residuals', 'granitemoe', saying({ residual_multiplier: 0.401 })],
  ])('%s: %s', async (_, name, change) => {
    const model = named(name);
    if (!theirs.has(name)) theirs.set(name, theirLogits(model));
    const expected = rowsOf((await theirs.get(name)) as Float32Array);
    expect(worstError(await ourLogits(change(model)), expected)).toBeGreaterThan(
      10 * perLayer * model.decoder.layers.length,
    );
  });
});

test('a trained model: logits are llama.cpp’s', async () => {
  const folder = join(import.meta.dirname, '../data/tiny-mixtral');
  const model = await storedModel(folder);
  const bytes = [...Buffer.from('In the beginning God created the heaven and')];
  const theirs = await llamaLogits(libraries, model, bytes);
  const ours = await withModel(
    folder,
    { weightType: 'float32', kvType: 'float32', device: 'cpu' },
    (loaded) => logitsOf(loaded, bytes),
  );
  const difference = worstError(ours, rowsOf(theirs, 256));
  differences['tiny-mixtral'] = { 'from theirs': difference };
  expect(difference).toBeLessThan(perLayer * 4);
});
