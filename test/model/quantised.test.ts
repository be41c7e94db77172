// Whole models whose matrices are quantised: attention, dense layers, experts and the output head.
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { OutputFolder } from '../../src/base/output_folder.js';
import { deviceAt, resolveDevice } from '../../src/binding/devices.js';
import { MoECheckpoint } from '../../src/index.js';
import { readDescription } from '../../src/model/load.js';
import { ModelTensors } from '../../src/model/model_tensors.js';
import { packModel } from '../../src/model/packed/write.js';
import { ModelSize } from '../../src/model/size.js';
import { quantised, quantisedFormats } from '../fixtures/quantised.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { writtenModel } from './fixture.js';
import { modelFixtures } from './fixtures.js';
import { logitsOf, textOf, withModel } from './running.js';

const options = {
  weightType: 'float32',
  outputType: 'float32',
  kvType: 'float32',
  threads: 1,
  device: 'cpu',
} as const;
const tokens = textOf(20);

const projections = /(proj|with_mqa|\.w\d|lm_head)\.weight$/;
/** MLX leaves no matrix as it is. */
const matrices = /(proj|\.w\d|gate|lm_head|embed_tokens)\.weight$/;

/** Folders of the model in the format, and of the values that it has then. */
async function writtenIn(model: string, format: string, isMeant: RegExp, more: object = {}) {
  const fixture = modelFixtures.find(({ name }) => name === model);
  const chosen = quantisedFormats.find(({ name }) => name === format);
  if (fixture === undefined || chosen === undefined) throw new Error('no fixture');
  const { stored, plain } = quantised(chosen, fixture.tensors, (name) => isMeant.test(name));
  const key = 'quant_method' in chosen.config ? 'quantization_config' : 'quantization';
  const description = { ...chosen.config, ignore: [], modules_to_not_convert: [], ...more };
  return {
    folder: await writtenModel({
      config: { ...fixture.config, [key]: description },
      tensors: stored,
    }),
    plain: await writtenModel({ ...fixture, tensors: plain }),
  };
}

test.each([
  ['qwen2_moe, biases', 'GPTQ, an order of inputs', projections],
  ['qwen2_moe, biases', 'AWQ', projections],
  ['deepseek_v3, halves, biases, yarn by two scales', 'compressed-tensors int4', projections],
  ['deepseek_v3, halves, biases, yarn by two scales', 'ModelOpt NVFP4', projections],
  ['mixtral, as published', 'compressed-tensors float-quantized by channel', projections],
  ['mixtral, as published', 'MLX of 4 bits', matrices],
])('%s in %s has the logits of the values', async (model, format, isMeant) => {
  const { folder, plain } = await writtenIn(model, format, isMeant);
  const logitsIn = (path: string) => withModel(path, options, (loaded) => logitsOf(loaded, tokens));
  const logits = await logitsIn(folder);
  expect(logits).toEqual(await logitsIn(plain));
  expect(logits.every(Number.isFinite) && new Set(logits).size > tokens.length).toBe(true);
});

test('of several types each matrix is held as it is stored, and weighs what it does', async () => {
  const name = 'mixtral, as published';
  const { tensors } = modelFixtures.find((each) => each.name === name) as (typeof modelFixtures)[0];
  const inFloats = async (isFloat: RegExp) => {
    const isMeant = new RegExp(`^(?!.*${isFloat.source}).*(w[123]|[qk]_proj)\\.weight$`);
    const ignore = Object.keys(tensors).filter((tensor) => !isMeant.test(tensor));
    const format = 'compressed-tensors float-quantized by channel';
    const written = await writtenIn(name, format, isMeant, {
      ignore: ignore.map((tensor) => tensor.replace(/\.weight$/, '')),
    });
    await using checkpoint = await MoECheckpoint.open(written.folder);
    const { description } = await readDescription(checkpoint.tensors);
    const source = new ModelTensors(checkpoint, description);
    const size = await ModelSize.of(checkpoint, source, description);
    return { ...written, bytes: size.weightBytes({}, deviceAt(resolveDevice('cpu'))?.weights) };
  };
  // One expert, and of another the gate alone.
  const isFloat = /experts\.(0\.w[123]|5\.w1)\./;
  const { folder, plain, bytes } = await inFloats(isFloat);
  const { bytes: alike } = await inFloats(/nothing/);
  const elements = Object.entries(tensors).flatMap(([tensor, { shape }]) =>
    isFloat.test(tensor) ? [shape.reduce((a, b) => a * b)] : [],
  );
  expect(elements.length).toBe(3 * 4);
  // Codes of eight bits, a scale of 32 for 128 of them.
  const more = elements.reduce((a, b) => a + b) * ((32 - 8.25) / 8);
  expect(bytes.held - alike.held).toBeCloseTo(more);
  expect(bytes.always).toBeCloseTo(alike.always);
  const logitsIn = (path: string, held: object) =>
    withModel(path, { ...options, outputType: undefined, ...held }, (loaded) =>
      logitsOf(loaded, tokens),
    );
  expect(await logitsIn(folder, { weightType: undefined })).toEqual(await logitsIn(plain, {}));
});

test('a quantised embedding is not packed', async () => {
  const { folder } = await writtenIn('mixtral, as published', 'MLX of 4 bits', matrices);
  await using out = await OutputFolder.open('--out', join(await temporaryFolder(), 'packed'));
  const packing = packModel(folder, out, {
    signal: new AbortController().signal,
    weightType: 'int8',
  });
  await expect(packing).rejects.toThrow(
    /Expected the embedding of .* to be of floats.*got one of uint4/,
  );
});
