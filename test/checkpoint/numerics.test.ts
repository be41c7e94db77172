import { describe, expect, test } from 'vitest';
import { SafetensorsFile } from '../../src/checkpoint/containers/file.js';
import { MoELayer } from '../../src/index.js';
import { type Case, cases, randomCase, rounded, seeded, withWeights } from '../cases.js';
import { layerReference, relativeError } from '../reference/layer.js';
import { expectReference } from '../support/expect_reference.js';
import { floatOf } from '../support/floats.js';
import { randomValues } from '../support/layers.js';

async function check(shape: Case): Promise<boolean> {
  const { options, hidden } = seeded(shape);
  const type = shape.weightType ?? 'float32';
  const stored = withWeights(options, (tensor) => rounded(tensor, type));
  await using layer = await MoELayer.create({ ...stored, device: 'cpu' });
  const expected = layerReference(layer.config, stored, hidden);
  if (expected.margin < 1e-5) return false; // a near tie: rounding may decide either way
  const actual = await layer.forward(hidden, { routing: true });
  expectReference(actual, expected, 1e-5);
  if (type !== 'float32') {
    const unrounded = layerReference(layer.config, options, hidden);
    expect(relativeError(actual.output, unrounded.output.flat()) <= 1e-2).toBe(true);
    await using converted = await MoELayer.create({ ...options, device: 'cpu', weightType: type });
    expect((await converted.forward(hidden)).output).toEqual(actual.output);
  }
  return true;
}

describe('against the float64 reference', () => {
  test.each(cases.map((shape) => [shape.name, shape] as const))('%s', async (_, shape) => {
    let seed = 1;
    while (!(await check({ ...shape, seed }))) expect(++seed).toBeLessThan(20);
  });

  test('random layers', async () => {
    let checked = 0;
    for (let seed = 1; checked < 150; seed++) {
      expect(seed).toBeLessThan(1000);
      try {
        if (await check(randomCase(seed))) checked++;
      } catch (cause) {
        throw new Error(`random case ${seed}: ${(cause as Error).message}`, { cause });
      }
    }
  });
});

describe('bit for bit', () => {
  const shape: Case = {
    name: 'odd',
    T: 37,
    H: 70,
    I: 45,
    E: 9,
    K: 3,
    shared: { experts: 1, gated: true },
  };
  const { options, hidden } = seeded(shape);
  const H = shape.H;

  test.each(['float32', 'bfloat16', 'float16'] as const)(
    'a token of %s weights comes out the same in any batch, on any number of threads',
    async (weightType) => {
      await using layer = await MoELayer.create({ ...options, device: 'cpu', weightType });
      const { output } = await layer.forward(hidden);
      for (const size of [1, 2, 5, 16]) {
        for (let start = 0; start < shape.T; start += size) {
          const part = hidden.slice(start * H, (start + size) * H);
          const { output: alone } = layer.forwardSync(part);
          expect(alone).toEqual(output.slice(start * H, (start + size) * H));
        }
      }
      for (const threads of [1, 3, 5]) {
        await using other = await MoELayer.create({
          ...options,
          device: 'cpu',
          weightType,
          threads,
        });
        expect((await other.forward(hidden)).output).toEqual(output);
      }
    },
  );

  test('NaN and infinity stay in their token', async () => {
    await using layer = await MoELayer.create({ ...options, device: 'cpu' });
    const { output, expertLoad } = await layer.forward(hidden);
    const damaged = hidden.slice();
    damaged[3 * H + 5] = Number.NaN;
    damaged[9 * H] = Infinity;
    const result = await layer.forward(damaged, { routing: true });
    for (let t = 0; t < shape.T; t++) {
      const token = result.output.slice(t * H, (t + 1) * H);
      if (t === 3 || t === 9) expect(token.every(Number.isNaN)).toBe(true);
      else expect(token).toEqual(output.slice(t * H, (t + 1) * H));
    }
    expect(result.expertLoad.reduce((a, b) => a + b)).toBe(
      expertLoad.reduce((a, b) => a + b) - 2 * shape.K,
    );
    expect([...result.routing.expertIds.slice(9, 12)]).toEqual([-1, -1, -1]);
  });

  test('a 16-bit batch is its values', async () => {
    await using layer = await MoELayer.create({ ...options, device: 'cpu' });
    const values = randomValues(4 * H, 3);
    const batch = rounded({ dtype: 'float32', shape: [4, H], data: values }, 'bfloat16');
    const widened = Float32Array.from(batch.data, (bits) => floatOf('bfloat16', bits));
    expect((await layer.forward(batch)).output).toEqual((await layer.forward(widened)).output);
  });
});

describe('a trained model', () => {
  test.each([0, 1, 2, 3])('layer %i gives the recorded experts and outputs', async (number) => {
    const recorded = await SafetensorsFile.open('test/data/tiny-mixtral/activations.safetensors');
    const read = (name: string) => recorded.readTensor(`layers.${number}.${name}`);
    const ids = await recorded.readBytes(`layers.${number}.expert_ids`);
    await using layer = await MoELayer.load('test/data/tiny-mixtral', { layer: number });
    const { output, routing } = await layer.forward(await read('input'), { routing: true });
    expect([...routing.expertIds]).toEqual(
      [...new BigInt64Array(ids.buffer, ids.byteOffset, ids.byteLength / 8)].map(Number),
    );
    expect(relativeError(output, [...(await read('output')).data]) <= 1e-5).toBe(true);
  });
});
