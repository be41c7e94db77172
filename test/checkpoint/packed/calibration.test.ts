// Layers and models whose experts are quantised by what enters them.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { OutputFile } from '../../../src/base/output_file.js';
import { SafetensorsFile } from '../../../src/checkpoint/containers/file.js';
import { TensorFiles } from '../../../src/checkpoint/containers/tensor_files.js';
import { encodeSafetensors, type TensorToWrite } from '../../../src/checkpoint/containers/write.js';
import { packCheckpoint } from '../../../src/checkpoint/packed/write.js';
import { Recording } from '../../../src/cli/activations.js';
import { addRecord } from '../../../src/cli/record.js';
import { MoECheckpoint, MoELayer, MoEModel, type WeightType } from '../../../src/index.js';
import { activations, nodeMoe, nodeMoeJson, tinyMixtral } from '../../fixtures/command_line.js';
import { modelFixtures } from '../../fixtures/families.js';
import { temporaryFolder } from '../../fixtures/temporary_folder.js';
import { writeModel } from '../../fixtures/write_model.js';
import { randomValues } from '../../support/layers.js';

const hidden = 128;
const layers = [0, 1, 2, 3];

type Recorded = Record<string, Float32Array>;

async function recordedRows(): Promise<Recorded> {
  const file = await SafetensorsFile.open(activations);
  const rows: Recorded = {};
  for (const layer of layers) {
    const name = `layers.${layer}.input`;
    rows[name] = (await file.readTensor(name)).data as Float32Array;
  }
  return rows;
}

async function written(rows: Recorded, width = hidden): Promise<string> {
  const tensors: Record<string, TensorToWrite> = {};
  for (const [name, data] of Object.entries(rows))
    tensors[name] = { dtype: 'F32', shape: [data.length / width, width], data };
  const path = join(await temporaryFolder(), 'recorded.safetensors');
  await writeFile(path, Buffer.concat(encodeSafetensors(tensors)));
  return path;
}

/** Every second stretch of 16 tokens: from both of the texts that were recorded. */
const half = (rows: Float32Array, which: 0 | 1): Float32Array =>
  rows.filter((_, i) => Math.floor(i / hidden / 16) % 2 === which);

interface PackedBy {
  layers?: number[];
  calibrate?: string;
  weightType?: WeightType | undefined;
}

async function packed(path: string, { calibrate, ...by }: PackedBy = {}): Promise<string> {
  const out = join(await temporaryFolder(), 'packed.safetensors');
  await using checkpoint = await MoECheckpoint.open(path);
  await using file = await OutputFile.open('--out', out, { outOfOrder: true });
  await packCheckpoint(checkpoint, file, {
    ...{ layers: checkpoint.layers, weightType: 'int4', ...by },
    ...(calibrate !== undefined && { calibration: await Recording.open(calibrate) }),
    signal: new AbortController().signal,
  });
  return out;
}

async function outputOf(path: string, layer: number, rows: Float32Array, weightType?: 'float32') {
  await using loaded = await MoELayer.load(path, { layer, ...(weightType && { weightType }) });
  return (await loaded.forward(rows)).output;
}

function errorOf(output: Float32Array, exact: Float32Array): number {
  let [off, norm] = [0, 0];
  for (const [i, value] of exact.entries()) {
    off += ((output[i] as number) - value) ** 2;
    norm += value ** 2;
  }
  return Math.sqrt(off / norm);
}

test('rows that were not calibrated by come out with a smaller error', async () => {
  const rows = await recordedRows();
  const calibrating = Object.entries(rows).map(([name, all]) => [name, half(all, 0)]);
  const file = await written(Object.fromEntries(calibrating));
  const plain = await packed(tinyMixtral);
  const calibrated = await packed(tinyMixtral, { calibrate: file });
  let [sum, sumWithout] = [0, 0];
  for (const layer of layers) {
    const others = half(rows[`layers.${layer}.input`] as Float32Array, 1);
    const exact = await outputOf(tinyMixtral, layer, others, 'float32');
    const without = errorOf(await outputOf(plain, layer, others), exact);
    const with_ = errorOf(await outputOf(calibrated, layer, others), exact);
    // By a dozen rows an expert a layer may come out a little worse.
    expect(with_, `layer ${layer}`).toBeLessThan(1.03 * without);
    sum += with_;
    sumWithout += without;
  }
  expect(sum).toBeLessThan(0.97 * sumWithout);
});

const families = modelFixtures.filter(({ name }) =>
  ['qwen2_moe', 'deepseek_v3', 'gpt_oss', 'llama4'].includes(name),
);
test.each(families.map((model) => [model.name, model] as const))(
  '%s: always-on experts, biases and weighed inputs are calibrated, too',
  async (_, model) => {
    expect(families.length).toBeGreaterThan(2);
    const { folder } = await writeModel(model);
    const { H } = model.sizes;
    const [layer] = model.layers as [number];
    // A few inputs are a hundred times as large as the others: all that counts is how exact their weights are.
    const rows = randomValues(96 * H, 4).map((value, i) => (i % 7 === 0 ? 100 : 1) * value);
    const file = await written({ [`layers.${layer}.input`]: rows }, H);
    const plain = await packed(folder, { layers: [layer] });
    const calibrated = await packed(folder, { layers: [layer], calibrate: file });
    const exact = await outputOf(folder, layer, rows, 'float32');
    const without = errorOf(await outputOf(plain, layer, rows), exact);
    expect(errorOf(await outputOf(calibrated, layer, rows), exact)).toBeLessThan(0.98 * without);
  },
);

test('a checkpoint that is recorded is opened once', async () => {
  const folder = await temporaryFolder();
  const [text, out] = [join(folder, 'text.txt'), join(folder, 'recorded.safetensors')];
  await writeFile(text, 'Let there be light');
  const open = vi.spyOn(TensorFiles, 'open');
  const print = vi.spyOn(console, 'log').mockImplementation(() => {});
  onTestFinished(() => {
    open.mockRestore();
    print.mockRestore();
  });
  const program = new Command();
  addRecord(program);
  await program.parseAsync(['record', tinyMixtral, '--text', text, '--out', out, '--json'], {
    from: 'user',
  });
  expect(open).toHaveBeenCalledTimes(1);
});

test('a whole model is recorded as it reads, calibrated by that, and loads', async () => {
  const folder = await temporaryFolder();
  const [text, file, out] = ['text.txt', 'recorded.safetensors', 'packed'].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  const words = 'And God said, Let there be light: and there was light.\n'.repeat(4);
  await writeFile(text, words);
  const reading = ['record', tinyMixtral, '--text', text, '--out', file];
  const flags = ['--window', '150', '--max-tokens', '200'];
  expect(await nodeMoeJson([...reading, ...flags])).toEqual({ out: file, layers, tokens: 200 });
  const recorded = await SafetensorsFile.open(file);
  expect([...recorded.tensors.keys()].sort()).toEqual([
    ...layers.map((layer) => `layers.${layer}.input`),
    'token_ids',
  ]);
  expect(recorded.entry('layers.2.input').shape).toEqual([200, hidden]);

  await nodeMoeJson([
    'pack',
    tinyMixtral,
    '--out',
    out,
    '--weight-type',
    'int4',
    '--calibrate',
    file,
  ]);
  await using model = await MoEModel.load(out, { kvTokens: 64 });
  await using plain = await MoEModel.load(tinyMixtral, { kvTokens: 64, weightType: 'int4' });
  const tokens = [...words.slice(0, 20)].map((letter) => letter.charCodeAt(0));
  const logits = await model.logits(tokens);
  expect(logits.every(Number.isFinite)).toBe(true);
  expect(logits).not.toEqual(await plain.logits(tokens));
});

test('what a model records is what its layers were run on', async () => {
  const file = await SafetensorsFile.open(activations);
  const { buffer } = await file.readBytes('tokens');
  const tokens = [...new BigInt64Array(buffer)].slice(0, 96).map(Number);
  await using model = await MoEModel.load(tinyMixtral, {
    weightType: 'float32',
    kvType: 'float32',
  });
  const inputs = await model.blockInputs(tokens);
  for (const layer of layers) {
    const right = (await file.readTensor(`layers.${layer}.input`)).data.subarray(0, 96 * hidden);
    expect(errorOf(inputs[layer] as Float32Array, right as Float32Array)).toBeLessThan(1e-5);
  }
});

describe('a file that cannot be calibrated by is refused before anything is packed', () => {
  const cases: [string, (rows: Recorded) => Recorded, string, number?][] = [
    [
      'a layer is missing',
      ({ 'layers.3.input': _, ...rows }) => rows,
      'recorded.safetensors to be there, got a file with layers.0.input',
    ],
    ['rows are narrower', (rows) => rows, 'to have the shape [tokens, 128], got [384, 64]', 64],
    [
      'there is no token',
      (rows) => ({ ...rows, 'layers.2.input': new Float32Array() }),
      '"layers.2.input" in',
    ],
    [
      'a number is none',
      (rows) => {
        (rows['layers.1.input'] as Float32Array)[130] = Number.NaN;
        return rows;
      },
      'recorded.safetensors to hold numbers, got NaN in token 1',
    ],
  ];
  test.each(cases)('%s', async (_, changed, message, width) => {
    const calibrate = await written(changed(await recordedRows()), width);
    await expect(packed(tinyMixtral, { calibrate })).rejects.toThrow(message);
  });

  test('of a whole model, too', async () => {
    const { 'layers.3.input': _, ...rows } = await recordedRows();
    const flags = ['--weight-type', 'int4', '--calibrate', await written(rows)];
    const out = join(await temporaryFolder(), 'packed');
    const finished = await nodeMoe(['pack', tinyMixtral, '--out', out, ...flags]);
    expect(finished).toMatchObject({ code: 1, stdout: '' });
    expect(finished.stderr).toContain('recorded.safetensors to be there');
  });

  test.each(['int8', 'float32', undefined] as const)('with weights in %s', async (weightType) => {
    const packing = packed(tinyMixtral, { weightType, calibrate: activations });
    await expect(packing).rejects.toThrow(
      `Expected \`weightType\` to be one that is calibrated, as 'int4', got '${weightType ?? 'bfloat16'}'`,
    );
  });
});
