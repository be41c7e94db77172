import { expect, test } from 'vitest';
import { ConfigError } from '../../src/errors.js';
import { exchangeOf } from '../../src/group/nodes.js';
import type { Hello } from '../../src/group/roster.js';

/** Ranks on machines, one letter for each rank. */
function hellos(machines: string, of0: Partial<Hello> = {}): Hello[] {
  return [...machines].map((machine, rank) => ({
    ...{ build: '1', rank, size: machines.length, modelParallel: 1, workers: false },
    ...{ exchange: 'auto', process: String(rank), machine, contact: '' },
    ...(rank === 0 ? of0 : {}),
  }));
}

test.each([
  ['aabb', 2],
  ['aaabbbccc', 3],
  ['abcd', 1],
  ['aaaa', 4],
  ['a', 1],
  ['aab', 1],
  ['abab', 1],
  ['aabbb', 1],
  ['abba', 1],
  ['aabbaa', 1],
])('ranks on machines %s: %i on each', (machines, ranksPerNode) => {
  expect(exchangeOf(hellos(machines))).toEqual({ plan: 'auto', ranksPerNode });
});

test("rank 0's wishes count", () => {
  const wanted = { exchange: 'two-level', ranksPerNode: 2 } as const;
  expect(exchangeOf(hellos('aaaa', wanted))).toEqual({ plan: 'two-level', ranksPerNode: 2 });
});

test.each<[string, Partial<Hello>, RegExp]>([
  ['aaaa', { exchange: 'two-level' }, /several machines .* got 4 ranks, 4 on each/],
  ['abcd', { exchange: 'two-level' }, /got 4 ranks, 1 on each/],
  ['aabb', { exchange: 'two-level', modelParallel: 2 }, /groupWiseA2a/],
  ['aaab', { ranksPerNode: 3 }, /divisor of `size` 4, got 3/],
])('refuses on %s: %o', (machines, of0, message) => {
  expect(() => exchangeOf(hellos(machines, of0))).toThrow(ConfigError);
  expect(() => exchangeOf(hellos(machines, of0))).toThrow(message);
});
