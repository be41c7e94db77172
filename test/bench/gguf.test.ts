import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bfloat16Bits, float16Bits } from '../../bench/gguf/floats.mjs';
import { ggufTypes } from '../../bench/gguf/types.mjs';
import { writeGguf } from '../../bench/gguf/write.mjs';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { toBits } from '../support/floats.js';
import { decodedGguf } from '../support/gguf_types.js';

const path = async () => join(await temporaryFolder(), 'model.gguf');
const rows = (...values: number[][]) => values.map((row) => Float32Array.from(row));

/** Bytes by hand: numbers are little-endian of so many bytes, texts are as they stand. */
const hand = (...parts: readonly (string | readonly [value: number, bytes: number])[]) =>
  Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'string') return Buffer.from(part);
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(BigInt(part[0]));
      return bytes.subarray(0, part[1]);
    }),
  );

test('a file is what the format says, byte for byte', async () => {
  const file = await path();
  const size = await writeGguf(
    file,
    {
      'general.architecture': ['string', 'x'],
      'x.size': ['u32', 258],
      'x.yes': ['bool', true],
      'x.types': ['i32[]', [1, -1]],
      'x.names': ['string[]', ['é']],
      'x.half': ['f32', 0.5],
    },
    [
      { name: 'a', type: 'F32', shape: [2, 1], rows: () => rows([1], [-2]) },
      { name: 'b', type: 'BF16', shape: [3], rows: () => [Uint8Array.of(1, 2, 3, 4, 5, 6)] },
    ],
  );
  const header = hand(
    ...(['GGUF', [3, 4], [2, 8], [6, 8]] as const),
    ...([[20, 8], 'general.architecture', [8, 4], [1, 8], 'x'] as const),
    ...([[6, 8], 'x.size', [4, 4], [258, 4]] as const),
    ...([[5, 8], 'x.yes', [7, 4], [1, 1]] as const),
    ...([[7, 8], 'x.types', [9, 4], [5, 4], [2, 8], [1, 4], [2 ** 32 - 1, 4]] as const),
    ...([[7, 8], 'x.names', [9, 4], [8, 4], [1, 8], [2, 8], 'é'] as const),
    ...([[6, 8], 'x.half', [6, 4], [0x3f000000, 4]] as const),
    // The fastest dimension comes first; each tensor begins at a multiple of 32 bytes.
    ...([[1, 8], 'a', [2, 4], [1, 8], [2, 8], [0, 4], [0, 8]] as const),
    ...([[1, 8], 'b', [1, 4], [3, 8], [30, 4], [32, 8]] as const),
  );
  const begin = Math.ceil(header.length / 32) * 32;
  const expected = Buffer.alloc(begin + 64);
  expected.set(header);
  expected.set(hand([0x3f800000, 4], [0xc0000000, 4]), begin);
  expected.set([1, 2, 3, 4, 5, 6], begin + 32);
  expect((await readFile(file)).toString('hex')).toBe(expected.toString('hex'));
  expect(size).toBe(expected.length);
});

test('rows may be one memory that changes, and more than is written at once', async () => {
  const file = await path();
  const count = 5000;
  const size = await writeGguf(file, {}, [
    {
      ...{ name: 'a', type: 'F32', shape: [count, 256] },
      *rows() {
        const row = new Float32Array(256);
        for (let i = 0; i < count; i++) yield row.fill(i);
      },
    },
  ]);
  const written = await readFile(file);
  expect(written.length).toBe(size);
  const values = new Float32Array(
    Uint8Array.prototype.slice.call(written, size - count * 1024).buffer,
  );
  expect(values.findIndex((value, i) => value !== Math.floor(i / 256))).toBe(-1);
});

test.each([
  ['rows that cut a block', 'Q8_0', [2, 48], 'multiples of 32 long, got 48'],
  ['too few rows', 'F32', [3, 1], 'Expected 12 bytes of a, got 8'],
] as const)('%s are refused', async (_, type, shape, message) => {
  const tensor = { ...{ name: 'a', type, shape }, rows: () => rows([1], [2]) };
  await expect(writeGguf(await path(), {}, [tensor])).rejects.toThrow(message);
});

test('16-bit floats are rounded to the nearest', () => {
  const values = [0, -0, 1, -1, 2049, 2051, 65519, 65504, 2 ** -14, 2 ** -24, 2 ** -25, 3e-8, 1e-5];
  for (let i = 1; i < 2000; i++) values.push(Math.fround(Math.sin(i) * 2 ** ((i % 40) - 28)));
  for (const value of values) {
    expect([value, float16Bits(value) & 0x7fff]).toEqual([
      value,
      toBits('float16', value) & 0x7fff,
    ]);
    expect([value, bfloat16Bits(value)]).toEqual([value, toBits('bfloat16', value)]);
  }
  expect([65520, -1e9, Number.NaN, -0].map(float16Bits)).toEqual([0x7c00, 0xfc00, 0x7e00, 0x8000]);
  expect([Infinity, Number.NaN].map(bfloat16Bits)).toEqual([0x7f80, 0x7fc0]);
});

test.each([
  ['F16', 2, 2 ** -11],
  ['BF16', 2, 2 ** -8],
  ['Q8_0', 34 / 32, 1 / 200],
  ['Q4_0', 18 / 32, 1 / 7.5],
  ['Q4_1', 20 / 32, 1 / 14],
  ['Q5_0', 22 / 32, 1 / 15.5],
  ['Q5_1', 24 / 32, 1 / 30],
  ['Q2_K', 84 / 256, 1 / 2],
  ['Q3_K', 110 / 256, 1 / 3],
  ['Q4_K', 144 / 256, 1 / 12],
  ['Q5_K', 176 / 256, 1 / 20],
  ['Q6_K', 210 / 256, 1 / 28],
  ['IQ4_NL', 18 / 32, 1 / 8],
  ['IQ4_XS', 136 / 256, 1 / 7],
  ['MXFP4', 17 / 32, 1 / 3.9],
  ['NVFP4', 36 / 64, 1 / 5],
] as const)('%s: %d bytes a value are near what they hold', (type, each, tolerance) => {
  const values = Float32Array.from({ length: 768 }, (_, i) => (i < 256 ? 0 : Math.sin(i) * i));
  const encoded = ggufTypes[type].encode(values);
  expect(encoded.length).toBe(768 * each);
  const decoded = decodedGguf(type, encoded);
  for (let begin = 0; begin < values.length; begin += 32) {
    const most = Math.max(...values.subarray(begin, begin + 32).map(Math.abs));
    for (let i = begin; i < begin + 32; i++)
      expect(Math.abs((decoded[i] as number) - (values[i] as number))).toBeLessThanOrEqual(
        tolerance * most,
      );
  }
});

test.each(['F16', 'BF16', 'Q8_0', 'Q4_0', 'MXFP4'] as const)(
  '%s: values are held again',
  (type) => {
    const values = Float32Array.from({ length: 96 }, (_, i) => (i < 32 ? 0 : Math.sin(i) * i));
    const decoded = decodedGguf(type, ggufTypes[type].encode(values));
    const again = decodedGguf(type, ggufTypes[type].encode(decoded));
    expect(again.findIndex((value, i) => value !== decoded[i])).toBe(-1);
  },
);
