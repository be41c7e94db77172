import { describe, expect, test } from 'vitest';
import {
  confidences,
  droppedAt,
  loadByGroup,
  loadEntropy,
  quantile,
  rankCounts,
} from '../../../src/cli/report/statistics.js';
import { type MoEConfigOptions, MoELayer } from '../../../src/index.js';
import { randomValues, smallLayer } from '../../support/layers.js';

describe('the what-if curve is what TopkRouterV2 drops', () => {
  const [E, K, H, T] = [8, 3, 16, 101];
  const hidden = randomValues(T * H, 7, 3);

  test.each<[string, MoEConfigOptions, number, number]>([
    ['one group', {}, 0, 1],
    ['groups of 10 tokens, the last shorter', { expertGroupSize: 10 }, 10, 1],
    ['token by token', { enableSdrop: true }, 0, 1],
    ['rounded up to a multiple', { compCommParallel: true, compCommParallelDegree: 4 }, 0, 4],
  ])('%s', async (_, config, tokensPerGroup, multiple) => {
    const sizes = { expertNum: E, numExpertsChosen: K, tokensPerGroup };
    await using dropless = await MoELayer.create(smallLayer({ E, K, H }));
    const { expertIds } = await dropless.route(hidden);
    const groups = loadByGroup(expertIds, sizes);
    let drops = 0;
    for (const factor of [0.3, 1, 1.07, 1.25, 2, 8]) {
      const limited = { ...config, capacityFactor: factor };
      await using layer = await MoELayer.create(smallLayer({ E, K, H, config: limited }));
      const { droppedChoices } = await layer.forward(hidden);
      expect([factor, droppedAt(factor, groups, T, sizes, multiple)]).toEqual([
        factor,
        droppedChoices,
      ]);
      drops += droppedChoices;
    }
    expect(drops).toBeGreaterThan(0);
  });

  test('nothing is dropped of nothing', () => {
    const sizes = { expertNum: E, numExpertsChosen: K, tokensPerGroup: 4 };
    expect(droppedAt(1, loadByGroup(new Int32Array(), sizes), 0, sizes, 1)).toBe(0);
  });
});

test('a choice of nobody counts for no expert', () => {
  const sizes = { expertNum: 3, numExpertsChosen: 2, tokensPerGroup: 1 };
  expect(loadByGroup(Int32Array.of(2, 0, -1, -1), sizes)).toEqual([
    [1, 0, 1],
    [0, 0, 0],
  ]);
});

test('entropy is 1 for the same load everywhere and 0 for one expert', () => {
  expect(loadEntropy([5, 5, 5])).toBeCloseTo(1, 12);
  expect(loadEntropy([9, 0, 0])).toBe(0);
  expect(loadEntropy([0, 0])).toBe(0);
  expect(loadEntropy([4])).toBe(1);
});

test('confidence is the first choice’s share, without tokens that could not be routed', () => {
  const weights = Float32Array.of(0.5, 0.5, 1, 0.25, Number.NaN, Number.NaN);
  const shares = confidences(weights, 2);
  expect(Array.from(shares)).toEqual([0.5, 0.8]);
  expect(quantile(shares, 0.5)).toBeCloseTo(0.65, 12);
  expect([quantile(shares, 0), quantile(shares, 1)]).toEqual([0.5, 0.8]);
  expect(quantile(new Float64Array(), 0.5)).toBeNull();
});

test('ranks share the experts evenly', () => {
  expect(rankCounts(12)).toEqual([2, 3, 4, 6, 12]);
  expect(rankCounts(1)).toEqual([]);
});
