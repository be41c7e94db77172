// Ranks as real processes: they join, and what they compute is what one process computes, bit for bit.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  ExpertGroup,
  type LayerOptions,
  type LinkCost,
  type MoEConfigOptions,
  MoELayer,
} from '../src/index.js';
import { nodeMoe } from './fixtures/command_line.js';
import { temporaryFolder } from './fixtures/temporary_folder.js';
import { randomValues, smallLayer } from './support/layers.js';
import { failureOf, freePort, RankProcess, Ranks } from './support/ranks.js';

const H = 32;
const batch = (rank: number, tokens = [5, 0, 17, 1]) =>
  randomValues((tokens[rank % tokens.length] as number) * H, 50 + rank);

async function alone(options: LayerOptions, batches: Float32Array[]): Promise<Float32Array[]> {
  await using layer = await MoELayer.create(options);
  const outputs: Float32Array[] = [];
  for (const hidden of batches) outputs.push((await layer.forward(hidden)).output);
  return outputs;
}

const capacity: MoEConfigOptions = { routingPolicy: 'TopkRouterV2', capacityFactor: 1.0 };
const chunked: MoEConfigOptions = { compCommParallel: true, compCommParallelDegree: 3 };

describe('ranks compute what one process computes', () => {
  const cases: [string, number, number, MoEConfigOptions, Partial<LayerOptions>][] = [
    ['2 ranks', 2, 1, {}, {}],
    ['4 ranks in chunks, bfloat16', 4, 1, chunked, { weightType: 'bfloat16' }],
    ['4 ranks with capacity', 4, 1, { ...capacity, enableSdrop: true }, {}],
    [
      '3 ranks, uneven',
      3,
      1,
      { routingPolicy: 'TopkRouterV1', capacityFactor: 1 },
      { unevenExperts: true },
    ],
    ['2 sets of 2, group-wise', 4, 2, { ...chunked, groupWiseA2a: true }, { weightType: 'int8' }],
    [
      '3 ranks with replicas',
      3,
      1,
      {},
      {
        placement: {
          expertsOfRank: [
            [0, 1, 2],
            [3, 4, 0, 5],
            [6, 7, 0],
          ],
        },
      },
    ],
  ];
  test.each(cases)('%s', async (_, size, modelParallel, config, layer) => {
    const options = { ...smallLayer({ config }), ...layer };
    await using ranks = new Ranks(size);
    await ranks.join({ modelParallel });
    const created = await ranks.tell<{ experts: number[]; weightBytes: number }>(
      'create',
      () => options,
    );
    const batches = Array.from({ length: size }, (_, rank) =>
      batch(Math.floor(rank / modelParallel)),
    );
    const { unevenExperts, placement, ...plain } = options;
    const expected = await alone(plain, batches);
    for (let round = 0; round < 2; round++) {
      const results = await ranks.forward((rank) => batches[rank] as Float32Array);
      expect(results.map(({ output }) => output)).toEqual(expected);
    }
    const held = created.flatMap(({ experts }) => experts);
    expect(new Set(held).size).toBe(8);

    const loads = await ranks.tell<Float64Array>('totalLoad');
    for (const load of loads) expect(load).toEqual(loads[0]);
    await ranks.tell('closeLayer');
    await ranks.tell('closeGroup');
  });
});

test('a rank reads only its own experts of a checkpoint', async () => {
  const path = 'test/data/tiny-mixtral';
  await using whole = await MoELayer.load(path, { layer: 0 });
  const hidden = randomValues(12 * whole.hiddenSize, 3);
  const { output } = await whole.forward(hidden);
  await using ranks = new Ranks(2);
  const folder = await temporaryFolder();
  await ranks.join({ store: `file://${join(folder, 'store')}` });
  const loaded = await ranks.tell<{ experts: number[]; weightBytes: number }>('load', () => ({
    path,
    options: { layer: 0 },
  }));
  const half = whole.config.expertNum / 2;
  for (const { experts, weightBytes } of loaded) {
    expect(experts).toHaveLength(half);
    expect(weightBytes).toBeLessThan(0.6 * whole.weightBytes);
  }
  for (const result of await ranks.forward(() => hidden)) expect(result.output).toEqual(output);
});

test('ranks share a packed checkpoint, each with its own experts of it', async () => {
  const out = join(await temporaryFolder(), 'packed.safetensors');
  await nodeMoe(['pack', 'test/data/tiny-mixtral', '--out', out, '--weight-type', 'int4']);
  await using whole = await MoELayer.load(out, { layer: 0 });
  const hidden = randomValues(12 * whole.hiddenSize, 3);
  const { output } = await whole.forward(hidden);
  await using ranks = new Ranks(2);
  await ranks.join();
  const options = { layer: 0 };
  for (const { experts, weightBytes } of await ranks.tell<{
    experts: number[];
    weightBytes: number;
  }>('load', () => ({ path: out, options }))) {
    expect(experts).toHaveLength(whole.config.expertNum / 2);
    expect(weightBytes).toBeLessThan(0.6 * whole.weightBytes);
  }
  for (const result of await ranks.forward(() => hidden)) expect(result.output).toEqual(output);
});

describe('joining', () => {
  const started: RankProcess[] = [];
  const start = () => {
    const rank = new RankProcess();
    started.push(rank);
    return rank;
  };
  afterAll(() => Promise.all(started.map((rank) => rank.end())));

  test('alone is a group, too', async () => {
    await using group = await ExpertGroup.join({
      rank: 0,
      size: 1,
      store: `tcp://127.0.0.1:${await freePort()}`,
    });
    const options = smallLayer();
    const hidden = batch(0);
    const [expected] = await alone(options, [hidden]);
    await using layer = await MoELayer.create({ ...options, group });
    expect((await layer.forward(hidden)).output).toEqual(expected);
    expect(layer.forwardSync(hidden).output).toEqual(expected);
    await expect(group.close()).rejects.toMatchObject({ code: 'ERR_MOE_CONFIG' });
    await expect(
      layer.forward(hidden, { signal: new AbortController().signal }),
    ).rejects.toMatchObject({
      code: 'ERR_MOE_CONFIG',
    });
  });

  test('is refused to options that describe no rank', async () => {
    const good = { rank: 0, size: 2, store: 'tcp://127.0.0.1:1' };
    for (const [wrong, named] of [
      [{ rank: 2 }, 'rank'],
      [{ rank: -1 }, 'rank'],
      [{ size: 0 }, 'size'],
      [{ store: 'http://x' }, 'store'],
      [{ store: 'tcp://host' }, 'store'],
      [{ store: 'tcp://host:70000' }, 'store'],
      [{ store: 'file://relative' }, 'store'],
      [{ modelParallel: 3 }, 'size'],
      [{ timeoutMs: 0 }, 'timeoutMs'],
      [{ transport: 'carrier pigeon' }, 'transport'],
      [{ adress: 'x' }, 'address'],
    ] as const) {
      const failure = await failureOf(ExpertGroup.join({ ...good, ...wrong } as never));
      expect(failure).toMatchObject({ name: 'ConfigError', code: 'ERR_MOE_CONFIG' });
      expect(failure.message).toContain(named);
    }
  });

  test.each(['tcp', 'file'] as const)(
    'over %s: a wrong size and a rank twice are refused, the others meet',
    async (kind) => {
      const folder = await temporaryFolder();
      const store = kind === 'tcp' ? `tcp://127.0.0.1:${await freePort()}` : `file://${folder}`;
      const group = { size: 3, store, timeoutMs: 15_000 };
      const [zero, one, again, wrong, two] = [start(), start(), start(), start(), start()];
      await Promise.all([zero, one, again, wrong, two].map(({ ready }) => ready));
      const first = [
        zero.tell('join', { ...group, rank: 0 }),
        one.tell('join', { ...group, rank: 1 }),
      ];
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(await again.failureOf('join', { ...group, rank: 1 })).toMatchObject({
        name: 'ConfigError',
        message: expect.stringMatching(/rank.* 1/),
      });
      expect(await wrong.failureOf('join', { ...group, rank: 2, size: 4 })).toMatchObject({
        name: 'ConfigError',
        message: expect.stringContaining('size'),
      });
      await Promise.all([...first, two.tell('join', { ...group, rank: 2 })]);
      await Promise.all([zero, one, two].map((rank) => rank.tell('closeGroup')));
    },
  );

  test('says who did not come', async () => {
    const store = `tcp://127.0.0.1:${await freePort()}`;
    const [zero, two] = [start(), start()];
    const group = { size: 3, store, timeoutMs: 1500 };
    const failures = await Promise.all([
      zero.failureOf('join', { ...group, rank: 0 }),
      two.failureOf('join', { ...group, rank: 2, timeoutMs: 20_000 }),
    ]);
    for (const failure of failures)
      expect(failure).toMatchObject({
        name: 'GroupError',
        code: 'ERR_MOE_TIMEOUT',
        message: expect.stringContaining('rank 1 did not come'),
      });
  });

  test('a store with the files of processes that are gone does no harm', async () => {
    const folder = await temporaryFolder();
    const stale = { hello: { rank: 1, size: 9, contact: 'x' }, nonce: 'old', beat: 3 };
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'rank-1.json'), JSON.stringify(stale));
    await writeFile(join(folder, 'rank-0.json'), JSON.stringify({ ...stale, beat: 9 }));
    await writeFile(
      join(folder, 'answer-1.json'),
      JSON.stringify({ nonce: 'old', answer: { welcome: [] } }),
    );
    await writeFile(join(folder, 'answer-0.json'), 'not JSON');
    const [zero, one] = [start(), start()];
    const group = { size: 2, store: `file://${folder}`, timeoutMs: 15_000 };
    await Promise.all([
      zero.tell('join', { ...group, rank: 0 }),
      one.tell('join', { ...group, rank: 1 }),
    ]);
    await Promise.all([zero.tell('closeGroup'), one.tell('closeGroup')]);
  });
});

test('what exchanges cost is measured, and the same on every rank', async () => {
  await using ranks = new Ranks(3);
  await ranks.join();
  const costs = await ranks.tell<LinkCost>('measure');
  expect(costs[0]?.secondsPerExchange).toBeGreaterThan(0);
  expect(costs[0]?.bytesPerSecond).toBeGreaterThan(1e5);
  for (const cost of costs) expect(cost).toEqual(costs[0]);
  await ranks.tell('create', () => smallLayer({ E: 6 }));
  expect(await ranks.all[0]?.failureOf('measure')).toMatchObject({ code: 'ERR_MOE_CONFIG' });
});

describe('a layer is refused', () => {
  test.each([
    ['experts that ranks do not divide', { E: 7 }, {}, 'unevenExperts'],
    ['fewer experts than ranks', { E: 1, K: 1 }, {}, 'expertNum'],
    [
      'a placement without every expert',
      {},
      {
        placement: {
          expertsOfRank: [
            [0, 1],
            [2, 3],
          ],
        },
      },
      'placement',
    ],
    ['a placement for other ranks', {}, { placement: { expertsOfRank: [[0]] } }, 'placement'],
  ] as const)('%s', async (_, sizes, options, named) => {
    await using ranks = new Ranks(2);
    await ranks.join();
    const layer = { ...smallLayer(sizes), ...options };
    const failures = await Promise.all(ranks.all.map((rank) => rank.failureOf('create', layer)));
    for (const failure of failures) {
      expect(failure.name).toMatch(/ConfigError|GroupError/);
      expect(failure.message).toContain(named);
    }
  });
});
