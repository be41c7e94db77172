// Whole models whose matrices are quantised: attention, dense layers, experts and the output head.
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { OutputFolder } from '../../src/base/output_folder.js';
import { deviceAt, resolveDevice } from '../../src/binding/devices.js';
import { MoECheckpoint } from '../../src/index.js';
import { loadModel, readDescription } from '../../src/model/load.js';
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

test('of several types each matrix is held as it is stored, and weighs what was foretold', async () => {
  // Some experts are left as floats, and of another the gate alone.
  const isMeant = /experts\.([1-6]\.w[123]|7\.w[23])\.weight$|[qk]_proj\.weight$/;
  const name = 'mixtral, as published';
  const fixture = modelFixtures.find((each) => each.name === name) as (typeof modelFixtures)[0];
  expect(Object.keys(fixture.tensors).some((tensor) => tensor.includes('experts.7.w1'))).toBe(true);
  const format = 'compressed-tensors float-quantized by channel';
  const { folder, plain } = await writtenIn(name, format, isMeant, {
    ignore: Object.keys(fixture.tensors).flatMap((tensor) =>
      isMeant.test(tensor) ? [] : [tensor.replace(/\.weight$/, '')],
    ),
  });
  const stored = { kvType: 'float32', threads: 1, device: 'cpu' } as const;
  await using checkpoint = await MoECheckpoint.open(folder);
  const { description } = await readDescription(checkpoint.tensors);
  const source = new ModelTensors(checkpoint, description);
  const size = await ModelSize.of(checkpoint, source, description);
  const bytes = size.weightBytes({}, deviceAt(resolveDevice('cpu'))?.weights).held;
  const { native, close } = await loadModel(folder, stored);
  // Panels and vectors are padded, and each matrix says how it is held.
  expect(bytes / native.weightBytes).toBeGreaterThan(0.75);
  expect(bytes / native.weightBytes).toBeLessThan(1);
  await close();
  const logits = await withModel(folder, stored, (loaded) => logitsOf(loaded, tokens));
  expect(logits).toEqual(
    await withModel(plain, { ...stored, weightType: 'float32' }, (loaded) =>
      logitsOf(loaded, tokens),
    ),
  );
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
