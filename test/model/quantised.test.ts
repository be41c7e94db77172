// Whole models whose matrices are quantised: attention, dense layers, experts and the output head.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { OutputFile } from '../../src/base/output_file.js';
import { OutputFolder } from '../../src/base/output_folder.js';
import { deviceAt, resolveDevice } from '../../src/binding/devices.js';
import type { TensorToWrite } from '../../src/checkpoint/containers/write.js';
import { packCheckpoint } from '../../src/checkpoint/packed/write.js';
import { MoECheckpoint, MoELayer } from '../../src/index.js';
import { readDescription } from '../../src/model/load.js';
import { ModelTensors } from '../../src/model/model_tensors.js';
import type { ModelLoadOptions } from '../../src/model/options.js';
import { type PackModelOptions, packModel } from '../../src/model/packed/write.js';
import { ModelSize } from '../../src/model/size.js';
import { nodeMoeJson } from '../fixtures/command_line.js';
import type { Tensors } from '../fixtures/families.js';
import { quantised, quantisedFormats } from '../fixtures/quantised.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { toBits } from '../support/floats.js';
import { randomValues } from '../support/layers.js';
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

const fixtureOf = (model: string) => {
  const fixture = modelFixtures.find(({ name }) => name === model);
  if (fixture === undefined) throw new Error(`no fixture ${model}`);
  return fixture;
};

/** Folders of the model in the format, and of the values that it has then. */
async function writtenIn(
  model: string,
  format: string,
  isMeant: RegExp,
  more: object = {},
  tensors: Tensors = fixtureOf(model).tensors,
) {
  const fixture = fixtureOf(model);
  const chosen = quantisedFormats.find(({ name }) => name === format);
  if (chosen === undefined) throw new Error(`no format ${format}`);
  const { stored, plain } = quantised(chosen, tensors, (name) => isMeant.test(name));
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
  const { tensors } = fixtureOf(name);
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

const inBfloat16 = ({ shape, data }: TensorToWrite): TensorToWrite => ({
  ...{ dtype: 'BF16', shape },
  data: Uint16Array.from(data as Float32Array, (value) => toBits('bfloat16', value)),
});

async function packed(folder: string, held: Partial<PackModelOptions> = {}) {
  const path = join(await temporaryFolder(), 'packed');
  await using out = await OutputFolder.open('--out', path);
  const result = await packModel(folder, out, { signal: new AbortController().signal, ...held });
  return { path, result };
}

const measured = (path: string, held: ModelLoadOptions) =>
  withModel(path, { kvType: 'float32', device: 'cpu', ...held }, async (loaded) => ({
    logits: await logitsOf(loaded, tokens),
    bytes: loaded.native.weightBytes,
  }));

describe.each(['compressed-tensors float-quantized by channel', 'AWQ', 'GPTQ, an order of inputs'])(
  '%s, but for a layer in bfloat16 and float32',
  (format) => {
    const model = 'mixtral, as published';
    /** What the formats call modules that stay as they are. */
    const leftOut = {
      ...{ ignore: ['re:.*layers\\.1\\..*'], modules_to_not_convert: ['layers.1.'] },
      dynamic: { '-:.*layers\\.1\\..*': {} },
    };
    const isMeant = new RegExp(`^(?!.*\\.layers\\.1\\.).*${projections.source}`);
    const written = () => {
      const tensors = Object.entries(fixtureOf(model).tensors).map(([name, tensor]) => [
        name,
        /\.layers\.1\..*\.w1/.test(name) ? inBfloat16(tensor) : tensor,
      ]);
      return writtenIn(model, format, isMeant, leftOut, Object.fromEntries(tensors));
    };
    test('is packed as it is', async () => {
      const { folder, plain } = await written();
      const { path, result } = await packed(folder);
      const [direct, mapped] = [await measured(folder, {}), await measured(path, {})];
      expect(mapped).toEqual(direct);
      const inFloats = await measured(plain, { weightType: 'float32' });
      expect(direct.logits).toEqual(inFloats.logits);
      expect(direct.bytes).toBeLessThan(0.8 * inFloats.bytes);
      expect(result).toMatchObject({ weightType: 'published' });
      const inspected = await nodeMoeJson<{ layers: { packedFrom: string[] }[] }>([
        'inspect',
        path,
      ]);
      const [first = [], second] = inspected.layers.map(({ packedFrom }) => packedFrom);
      expect(second).toEqual(['BF16', 'F32']);
      expect(first).not.toContain('BF16');
      expect(first.length).toBeGreaterThan(1);
      expect(result.bytes).toBeGreaterThan(direct.bytes);
    });

    test('is packed as a file of layers', async () => {
      const { folder } = await written();
      const out = join(await temporaryFolder(), 'packed.safetensors');
      await using checkpoint = await MoECheckpoint.open(folder);
      const { layers, hiddenSize } = checkpoint;
      {
        await using file = await OutputFile.open('--out', out, { outOfOrder: true });
        const { signal } = new AbortController();
        const { weightType } = await packCheckpoint(checkpoint, file, { layers, signal });
        expect(weightType).toBe('published');
      }
      const hidden = randomValues(5 * hiddenSize, 1);
      for (const layer of layers) {
        await using direct = await checkpoint.load(layer, { device: 'cpu' });
        await using mapped = await MoELayer.load(out, { layer });
        expect(mapped.weightBytes).toBe(direct.weightBytes);
        expect(await mapped.forward(hidden)).toEqual(await direct.forward(hidden));
      }
    });

    test('is packed for rows of integers, where there are integers', async () => {
      const { folder } = await written();
      const rows = { activationType: 'int8' } as const;
      const { path } = await packed(folder, rows);
      expect(await measured(path, {})).toEqual(await measured(folder, rows));
    });
  },
);

test('a quantised embedding is packed as it is stored', async () => {
  const { folder } = await writtenIn('mixtral, as published', 'MLX of 4 bits', matrices);
  const { path } = await packed(folder);
  expect(await measured(path, {})).toEqual(await measured(folder, {}));
});
