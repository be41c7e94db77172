// Layers that hold quantised weights as their files have them.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { OutputFile } from '../../../../src/base/output_file.js';
import { writeSafetensors } from '../../../../src/checkpoint/containers/write.js';
import { packCheckpoint } from '../../../../src/checkpoint/packed/write.js';
import { type LoadOptions, MoECheckpoint, MoELayer } from '../../../../src/index.js';
import type { Tensors } from '../../../fixtures/families.js';
import { formatsOf, mlx, type QuantisedFormat, quantised } from '../../../fixtures/quantised.js';
import { temporaryFolder } from '../../../fixtures/temporary_folder.js';
import { randomValues } from '../../../support/layers.js';

// Neither is a multiple of 32 or of 16.
const odd = [72, 104] as const;
const E = 3;
const configOf = ([H, I]: readonly [number, number]) => ({
  ...{ model_type: 'qwen3_moe', hidden_size: H, intermediate_size: 20, moe_intermediate_size: I },
  ...{ num_hidden_layers: 1, hidden_act: 'silu', num_experts: E, num_experts_per_tok: 2 },
  ...{ norm_topk_prob: true, decoder_sparse_step: 1, mlp_only_layers: [] },
});
const block = 'model.layers.0.mlp';
const floats = (rows: number, cols: number, seed: number) => ({
  ...{ dtype: 'F32', shape: [rows, cols] },
  data: Float32Array.from(randomValues(rows * cols, seed)),
});
function tensorsOf([H, I]: readonly [number, number]): Tensors {
  const plain: Tensors = { [`${block}.gate.weight`]: floats(E, H, 5) };
  for (let e = 0; e < E; e++) {
    plain[`${block}.experts.${e}.gate_proj.weight`] = floats(I, H, 10 + e);
    plain[`${block}.experts.${e}.up_proj.weight`] = floats(I, H, 20 + e);
    plain[`${block}.experts.${e}.down_proj.weight`] = floats(H, I, 30 + e);
  }
  return plain;
}

async function written(
  format: QuantisedFormat,
  sizes: readonly [number, number],
  as: 'stored' | 'plain' = 'stored',
): Promise<string> {
  const tensors = quantised(format, tensorsOf(sizes), (name) => name.includes('experts'))[as];
  const folder = await temporaryFolder();
  const key = 'quant_method' in format.config ? 'quantization_config' : 'quantization';
  const description = as === 'stored' && { [key]: format.config };
  await writeFile(
    join(folder, 'config.json'),
    JSON.stringify({ ...configOf(sizes), ...description }),
  );
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  return folder;
}

const outputOf = async (folder: string, hidden: Float32Array, options: LoadOptions = {}) => {
  await using layer = await MoELayer.load(folder, { layer: 0, device: 'cpu', ...options });
  return { held: layer.weightType, output: (await layer.forward(hidden)).output as Float32Array };
};

test.each(
  [32, 40].flatMap((group) =>
    formatsOf(group).map((format) => [format.name, group, format] as const),
  ),
)('%s, groups of %i', async (_, __, format) => {
  const folder = await written(format, odd);
  const hidden = randomValues(9 * odd[0], 3);
  await using published = await MoELayer.load(folder, { layer: 0, device: 'cpu' });
  await using widened = await MoELayer.load(folder, {
    layer: 0,
    device: 'cpu',
    weightType: 'float32',
  });
  expect(published.weightType).toBe('published');
  const expected = (await widened.forward(hidden)).output;
  const most = Math.max(...expected.map(Math.abs));
  expect(most).toBeGreaterThan(0);
  expect((await published.forward(hidden)).output).toEqual(expected);
  // Codes of 4 and 8 bits, scales of at most 32 and zeros of a byte.
  expect(published.weightBytes).toBeLessThan(0.6 * widened.weightBytes);
  // Rows of int8 where groups stand side by side, else rows of floats.
  await using integers = await MoELayer.load(folder, {
    layer: 0,
    device: 'cpu',
    activationType: 'int8',
  });
  for (const [i, value] of (await integers.forward(hidden)).output.entries())
    expect(Math.abs(value - (expected[i] as number))).toBeLessThan(0.05 * most);
});

test('inputs in an order of their own may be packed', async () => {
  const format = formatsOf(32).find(({ name }) => name === 'GPTQ, an order of inputs');
  const folder = await written(format as QuantisedFormat, odd);
  await using checkpoint = await MoECheckpoint.open(folder);
  const path = join(await temporaryFolder(), 'packed.safetensors');
  {
    await using out = await OutputFile.open('--out', path, { outOfOrder: true });
    await packCheckpoint(checkpoint, out, { layers: [0], signal: new AbortController().signal });
  }
  const hidden = randomValues(9 * odd[0], 3);
  await using stored = await checkpoint.load(0);
  const expected = await stored.forward(hidden);
  await using packed = await MoELayer.load(path);
  expect(await packed.forward(hidden)).toEqual(expected);
  expect(packed.weightBytes).toBe(stored.weightBytes);

  // Groups that are not there: the numbers of an input stand before how each of three matrices is held.
  const bytes = await readFile(path);
  const record = bytes.lastIndexOf(Buffer.from('FORM'));
  bytes.writeInt32LE(1000, record - 3 * 64 + 16);
  await writeFile(path, bytes);
  await expect(MoELayer.load(path)).rejects.toThrow(/to have inputs in groups from 0 to \d+/);
});

function expectClose(actual: Float32Array, expected: Float32Array): void {
  const most = Math.max(...expected.map(Math.abs));
  expect(most).toBeGreaterThan(0);
  for (const [i, value] of expected.entries())
    expect(Math.abs((actual[i] as number) - value)).toBeLessThan(1e-5 * most);
}

describe('MLX of bits that words cut', () => {
  // Rows are whole words: of 32 inputs.
  const sizes = [96, 160] as const;
  const hidden = randomValues(9 * sizes[0], 3);
  const cases = [2, 3, 5, 6].flatMap((bits) => [32, 64].map((group) => [bits, group] as const));
  test.each(cases)('%i, in groups of %i', async (bits, group) => {
    const format = mlx('', bits, group);
    const folder = await written(format, sizes);
    const plain = await outputOf(await written(format, sizes, 'plain'), hidden);
    expect(plain.held).toBe('float32');
    const floats = await outputOf(folder, hidden, { weightType: 'float32' });
    expect(floats.output).toEqual(plain.output);
    const { held, output } = await outputOf(folder, hidden);
    expect(held).toBe('published');
    expectClose(output, plain.output);
  });
});
