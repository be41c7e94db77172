// A really trained model, against the logits that were recorded of it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SafetensorsFile } from '../../src/checkpoint/containers/file.js';
import { logitsOf, withModel } from './running.js';

const folder = join(import.meta.dirname, '../data/tiny-mixtral');
const length = 96;
const vocabulary = 256;

interface Recorded {
  tokens: number[];
  logits: Float32Array;
}

/** The Bible's bytes and Python's: two sequences. */
async function recorded(): Promise<Recorded[]> {
  const file = await SafetensorsFile.open(join(folder, 'activations.safetensors'));
  const { data } = await file.readTensor('logits');
  const tokens = new BigInt64Array((await file.readBytes('tokens')).buffer);
  return [0, 1].map((text) => ({
    tokens: Array.from(tokens.subarray(text * length, (text + 1) * length), Number),
    logits: (data as Float32Array).subarray(
      text * length * vocabulary,
      (text + 1) * length * vocabulary,
    ),
  }));
}

/** Of all bytes but the first. */
function bitsPerByte(logits: Float32Array, tokens: readonly number[]): number {
  let bits = 0;
  for (let t = 1; t < tokens.length; t++) {
    const row = logits.subarray((t - 1) * vocabulary, t * vocabulary);
    const most = Math.max(...row);
    const total = row.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
    bits -= (row[tokens[t] as number] as number) - most - Math.log(total);
  }
  return bits / Math.LN2 / (tokens.length - 1);
}

const largest = (values: Float32Array) =>
  values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

test('logits are the recorded ones', async () => {
  const texts = await recorded();
  await withModel(folder, { kvType: 'float32', device: 'cpu' }, async (model) => {
    expect(model.notes).toEqual([]);
    for (const { tokens, logits } of texts) {
      const actual = await logitsOf(model, tokens);
      const error = largest(actual.map((value, i) => value - (logits[i] as number)));
      // They were recorded with positions turned in float32.
      expect(error / largest(logits)).toBeLessThan(5e-6);
      expect(bitsPerByte(actual, tokens)).toBeCloseTo(bitsPerByte(logits, tokens), 5);
    }
  });
});

test.each([
  ['bible', 1.92],
  ['python', 1.48],
])('bits per byte of held-out text are those of its README: %s', async (name, stated) => {
  const tokens = [...readFileSync(join(folder, `text/${name}.txt`))];
  await withModel(folder, { device: 'cpu' }, async (model) => {
    let bits = 0;
    for (let begin = 0; begin < 7680; begin += 192) {
      const piece = tokens.slice(begin, begin + 192);
      bits += bitsPerByte(await logitsOf(model, piece), piece) / 40;
    }
    expect(Math.abs(bits - stated)).toBeLessThan(0.01);
  });
});

test('recorded texts stand in the held-out ones', async () => {
  for (const [i, name] of ['bible', 'python'].entries()) {
    const held = readFileSync(join(folder, `text/${name}.txt`));
    expect([...held.subarray(1000, 1000 + length)]).toEqual((await recorded())[i]?.tokens);
  }
});

test.each([
  ['bfloat16 in the cache', {}, 0.01],
  ['int8 in the cache', { kvType: 'int8' }, 0.02],
  ['int8 weights', { weightType: 'int8' }, 0.02],
  ['int8 weights and rows', { weightType: 'int8', activationType: 'int8' }, 0.03],
  ['int4 weights, a float head', { weightType: 'int4', outputType: 'bfloat16' }, 0.15],
] as const)('%s cost few bits per byte', async (_, options, most) => {
  const texts = await recorded();
  await withModel(folder, { ...options, device: 'cpu' }, async (model) => {
    for (const { tokens, logits } of texts) {
      const cost = bitsPerByte(await logitsOf(model, tokens), tokens) - bitsPerByte(logits, tokens);
      expect(Math.abs(cost)).toBeLessThan(most);
    }
  });
});
