// What scripts/weight-types.mjs measures with, but for ggml and the model.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { replaced } from '../../scripts/weight-types/page.mjs';
import { inBlocks, publishedTypes, roundedFloat8 } from '../../scripts/weight-types/published.mjs';
import { withOffset, withScale } from '../../scripts/weight-types/search.mjs';
import { costOf, relativeError } from '../../scripts/weight-types/statistics.mjs';
import { blockTypes } from '../../src/binding/block_types.js';
import { root } from '../fixtures/command_line.js';
import { generator } from '../support/layers.js';

const random = generator(7);
const values = Float32Array.from({ length: 256 * 128 }, () => random() + random() - 1);
const shape = [256, 128];
const page = readFileSync(join(root, 'docs/weight-types.md'), 'utf8');

test('every type of blocks that can be held is measured, and stands in the table', () => {
  const names: string[] = publishedTypes.map(({ name }) => name);
  for (const type of Object.keys(blockTypes)) {
    expect(names).toContain(type.toUpperCase());
    const row = new RegExp(`^\\| \`${type}\` +\\| [\\d.]+ +\\| [\\d.]+ %`, 'mi');
    expect(row.test(page), type).toBe(true);
  }
});

test('rows that are shorter than a block share one with those that follow', () => {
  expect(inBlocks([64, 128], 256)).toEqual({ rows: 32, width: 256, shared: 2 });
  expect(inBlocks([4, 8, 512], 256)).toEqual({ rows: 32, width: 512, shared: 1 });
  expect(() => inBlocks([3, 128], 256)).toThrow('Expected 3,128 to fill blocks of 256');
});

test('float8 is rounded to the nearest with a scale for each block', () => {
  const [held, outlier] = [roundedFloat8(values, shape), Float32Array.from(values)];
  expect(roundedFloat8(held, shape)).toEqual(held);
  expect(Math.max(...held.map((value, i) => Math.abs(value - (values[i] as number))))).toBeLessThan(
    1 / 28 + 1e-6, // Half a step of 32 below 448.
  );
  expect(relativeError(held, values)).toBeLessThan(0.03);
  outlier[5] = 1e4;
  expect(roundedFloat8(outlier, shape).subarray(128 * 128)).toEqual(held.subarray(128 * 128));
  expect(roundedFloat8(outlier, shape)[6]).not.toBe(held[6]);
});

describe.each([
  ['a scale', withScale],
  ['a scale and an offset', withOffset],
])('a search for %s', (_, searched) => {
  const importance = Float32Array.from({ length: 128 }, () => random() ** 4);
  const weighted = (held: Float32Array) =>
    held.reduce(
      (sum, value, i) =>
        sum + (importance[i % 128] as number) * (value - (values[i] as number)) ** 2,
      0,
    );

  test('holds a group in sixteen numbers, and errs less in smaller ones', () => {
    const held = searched(32)(values, shape);
    expect(new Set(held.subarray(32, 64)).size).toBeLessThanOrEqual(16);
    expect(relativeError(held, values)).toBeLessThan(0.09);
    expect(relativeError(held, values)).toBeLessThan(
      relativeError(searched(128)(values, shape), values),
    );
  });

  test('heeds how much columns count', () => {
    const [plain, heeding] = [searched(32)(values, shape), searched(32)(values, shape, importance)];
    expect(weighted(heeding)).toBeLessThan(0.9 * weighted(plain));
    expect(relativeError(heeding, values)).toBeGreaterThan(relativeError(plain, values));
  });
});

test('what text costs more is the mean over pieces, with its standard error', () => {
  const pieces = (...bits: number[]) => [bits.map((value) => ({ bits: value, bytes: 2 }))];
  const { mean, error } = costOf(pieces(4, 6, 8), pieces(2, 6, 4));
  expect(mean).toBe(1);
  expect(error).toBeCloseTo(1 / Math.sqrt(3), 12);
});

test('a table is written into its place, and only there', () => {
  const before =
    'a\n<!-- measured: x -->\n\nold\n\n<!-- end -->\nb\n<!-- measured: y -->\n\n<!-- end -->\n';
  expect(replaced(before, 'x', 'new $1')).toBe(before.replace('old', 'new $$1'));
  expect(() => replaced(page, 'z', '')).toThrow('docs/weight-types.md has no place for z');
  for (const name of ['layers', 'text', 'published', 'offsets'])
    expect(() => replaced(page, name, '')).not.toThrow();
});
