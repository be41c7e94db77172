// What fixtures have counts: without it the reference gives another result.
import { describe, expect, test } from 'vitest';
import { relativeError } from '../reference/layer.js';
import { fixtures } from './fixtures/all.js';
import { batches } from './loading.js';
import { type Block, blockOutput } from './reference/block.js';
import { type Router, route } from './reference/routers.js';

const blocks = fixtures.flatMap(({ name, reference }) =>
  [...reference.blocks].map(([layer, block]) => [`${name}, layer ${layer}`, block] as const),
);

const outputs = (block: Block) =>
  batches.flatMap(({ rows, tokens }) => blockOutput(block, rows, tokens).flat());

/** How far the result is from that of the same block with another router. */
const without = (block: Block, change: Partial<Router>) =>
  relativeError(outputs({ ...block, router: { ...block.router, ...change } }), outputs(block));

describe.each(blocks)('%s', (_, block) => {
  const { router } = block;

  test('every expert is chosen', () => {
    const chosen = batches.flatMap(({ rows, tokens }) =>
      route(router, rows, tokens).flatMap(({ choices }) => choices.map(({ expert }) => expert)),
    );
    expect([...new Set(chosen)].sort((a, b) => a - b)).toEqual(
      (router.choiceBias ?? block.experts).map((_, expert) => expert),
    );
  });

  test('its parts count', () => {
    const { choiceBias, groups, softCap, capacity, rowScale, logitBias } = router;
    if (choiceBias)
      expect.soft(without(block, { choiceBias: choiceBias.map(() => 0) })).toBeGreaterThan(0.01);
    if (logitBias)
      expect.soft(without(block, { logitBias: logitBias.map(() => 0) })).toBeGreaterThan(0.01);
    if (rowScale)
      expect.soft(without(block, { rowScale: rowScale.map(() => 1) })).toBeGreaterThan(0.01);
    if (groups)
      expect
        .soft(without(block, { groups: { ...groups, open: groups.count } }))
        .toBeGreaterThan(0.01);
    if (softCap) expect.soft(without(block, { softCap: 0 })).toBeGreaterThan(0.01);
    if (capacity) expect.soft(without(block, { capacity: Infinity })).toBeGreaterThan(0.01);
  });
});

test.each(blocks.filter(([name]) => name.startsWith('axk2, per expert')))(
  '%s, experts of closed groups are chosen',
  (_, block) => {
    const { groups } = block.router;
    if (groups === undefined) throw new Error('no groups');
    const excluded = { ...groups, masked: Number.NEGATIVE_INFINITY };
    expect(without(block, { groups: excluded })).toBeGreaterThan(0.01);
  },
);
