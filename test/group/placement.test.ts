import { describe, expect, test } from 'vitest';
import { type PlacementOptions, planPlacement } from '../../src/index.js';
import { generator } from '../support/layers.js';

describe('planPlacement', () => {
  // The example of DeepSeek's EPLB: two layers of 12 experts in 4 groups, 16 replicas on 8 GPUs of 2 nodes.
  test.each([
    [
      [90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
      [5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
    ],
    [
      [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27],
      [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1],
    ],
  ])('gives what EPLB gives for its example', (load, expected) => {
    const plan = planPlacement(load, { ranks: 8, slots: 16, nodes: 2, groups: 4 });
    expect(plan.expertsOfRank.flat()).toEqual(expected);
    expect(plan.expertsOfRank).toHaveLength(8);
    expect(plan.imbalanceAfter).toBeLessThan(plan.imbalanceBefore);
  });

  test('puts replicas of one expert on different ranks', () => {
    const plan = planPlacement([1000, 1, 1, 1], { ranks: 4, slots: 8 });
    expect(plan.replicas[0]).toBe(4);
    for (const experts of plan.expertsOfRank) expect(new Set(experts).size).toBe(experts.length);
    expect(plan.imbalanceBefore).toBeCloseTo(4000 / 1003);
    expect(plan.imbalanceAfter).toBeLessThan(1.01);
  });

  test('keeps an even load even, and nothing is nothing', () => {
    const even = planPlacement(new Uint32Array(8).fill(5), { ranks: 4 });
    expect(even.expertsOfRank.flat().toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect([even.imbalanceBefore, even.imbalanceAfter]).toEqual([1, 1]);
    expect(planPlacement(new Float64Array(4), { ranks: 2 }).imbalanceAfter).toBe(1);
  });

  test('measures against where experts are now', () => {
    const current = {
      expertsOfRank: [
        [0, 2],
        [1, 3],
      ],
    };
    expect(planPlacement([3, 1, 3, 1], { ranks: 2, current })).toMatchObject({
      imbalanceBefore: 1.5,
      imbalanceAfter: 1,
    });
  });

  test('is valid and the same every time, and evens out skewed loads', () => {
    let [before, after] = [0, 0];
    for (let seed = 1; seed <= 60; seed++) {
      const next = generator(seed);
      const ranks = 1 + Math.floor(next() * 6);
      const experts = ranks * (1 + Math.floor(next() * 5));
      const slots = Math.min(experts * ranks, experts + ranks * Math.floor(next() * 3));
      const load = Array.from({ length: experts }, () => Math.floor(next() ** 4 * 1000));
      const plan = planPlacement(load, { ranks, slots });
      expect(planPlacement(load, { ranks, slots })).toEqual(plan);
      expect(plan.expertsOfRank.flat()).toHaveLength(slots);
      for (const count of plan.replicas) expect(count).toBeGreaterThan(0);
      for (const held of plan.expertsOfRank) expect(held).toHaveLength(slots / ranks);
      before += plan.imbalanceBefore;
      after += plan.imbalanceAfter;
    }
    expect(after).toBeLessThan(0.8 * before);
  });

  test.each<[string, unknown, Partial<PlacementOptions>]>([
    ['ranks', [1, 2], { ranks: 0 }],
    ['slots', [1, 2], { ranks: 2, slots: 3 }],
    ['slots', [1, 2], { ranks: 2, slots: 1 }],
    ['nodes', [1, 2], { ranks: 2, nodes: 3 }],
    ['ranks', [1, 2, 3], { ranks: 3, nodes: 2 }],
    ['groups', [1, 2, 3, 4], { ranks: 2, nodes: 2, groups: 3 }],
    ['load', [], { ranks: 1 }],
    ['load[1]', [1, Number.NaN], { ranks: 1 }],
    ['load[0]', [-1, 1], { ranks: 1 }],
  ])('refuses %s that cannot be', (named, load, options) => {
    expect(() => planPlacement(load as number[], options as PlacementOptions)).toThrow(named);
  });
});
