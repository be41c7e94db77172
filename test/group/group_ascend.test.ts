// Ranks on simulated NPUs, whose rows travel by HCCL.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { LayerOptions } from '../../src/index.js';
import { simulatedCann } from '../support/ascend.js';
import { randomValues, smallLayer } from '../support/layers.js';
import { freePort, RankProcess } from '../support/ranks.js';

const cann = simulatedCann('8.5');
const H = 64;
let folder = '';
let ranks: RankProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'node-moe-'));
});
afterEach(async () => {
  await Promise.all(ranks.map((rank) => rank.end()));
  await rm(folder, { recursive: true, force: true });
});

function start(count: number, environment: Record<string, string> = {}): void {
  ranks = Array.from({ length: count }, (_, rank) => {
    const all = {
      ASCEND_HOME_PATH: cann ?? 'not built',
      ASCEND_SIM_REPORT: join(folder, `report-${rank}`),
      ASCEND_SIM_DEVICES: '4',
      HCCL_EXEC_TIMEOUT: '5',
      ...environment,
    };
    return new RankProcess([
      'env',
      ...Object.entries(all).map(([name, value]) => `${name}=${value}`),
    ]);
  });
}

const tell = <T>(command: string, argument: (rank: number) => unknown = () => undefined) =>
  Promise.all(ranks.map((process, rank) => process.tell<T>(command, argument(rank))));

async function joinAll(size: number): Promise<void> {
  const store = `tcp://127.0.0.1:${await freePort()}`;
  await tell('join', (rank) => ({ rank, size, store, timeoutMs: 20_000 }));
}

const batch = (rank: number) => randomValues(([9, 0, 21][rank % 3] as number) * H, 70 + rank);

/** What one process gives on one simulated NPU. */
async function alone(options: LayerOptions, size: number): Promise<Float32Array[]> {
  start(1);
  await joinAll(1);
  await tell('create', () => ({ ...options, device: 'ascend:0' }));
  const outputs: Float32Array[] = [];
  for (let rank = 0; rank < size; rank++) {
    const [result] = await tell<{ output: Float32Array }>('forward', () => ({
      hidden: batch(rank),
    }));
    outputs.push((result as { output: Float32Array }).output);
  }
  await Promise.all(ranks.map((rank) => rank.end()));
  return outputs;
}

const skipped = cann === undefined ? ' (skipped: `npm run test:native` builds the simulator)' : '';

test.skipIf(cann === undefined).each([
  ['float32', { compCommParallel: true, compCommParallelDegree: 2 }],
  ['bfloat16', { capacityFactor: 1.0 }],
] as const)(`NPUs compute what one computes, %s${skipped}`, async (weightType, config) => {
  const options = { ...smallLayer({ E: 6, H, I: 32, config }), weightType };
  const expected = await alone(options, 3);
  start(3);
  await joinAll(3);
  await tell('create', (rank) => ({ ...options, device: `ascend:${rank}` }));
  for (let round = 0; round < 2; round++) {
    const results = await tell<{ output: Float32Array }>('forward', (rank) => ({
      hidden: batch(rank),
    }));
    expect(results.map(({ output }) => output)).toEqual(expected);
  }
  await tell('closeLayer');
  await tell('closeGroup');
  await Promise.allSettled(ranks.map((rank) => rank.tell('exit'))); // they end, and write their reports
  for (const rank of ranks.keys())
    expect(await readFile(join(folder, `report-${rank}`), 'utf8')).toBe('');
});

test.skipIf(cann === undefined)(`an NPU's process that is killed is lost${skipped}`, async () => {
  start(2);
  await joinAll(2);
  const options = smallLayer({ E: 6, H, I: 32 });
  await tell('create', (rank) => ({ ...options, device: `ascend:${rank}` }));
  const hidden = batch(2);
  const [first, second] = ranks as [RankProcess, RankProcess];
  const failure = first.failureOf('forwardForEver', { hidden });
  second.tell('forwardForEver', { hidden }).catch(() => {});
  await first.progress();
  second.child.kill('SIGKILL');
  expect(await failure).toMatchObject({
    name: 'GroupError',
    code: expect.stringMatching(/ERR_MOE_(PEER_LOST|TIMEOUT)/),
  });
});
