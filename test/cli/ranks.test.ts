// node-moe run, bench and worker with the experts spread over processes.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ExpertGroup, MoELayer } from '../../src/index.js';
import { activations, nodeMoe, nodeMoeJson, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { randomValues } from '../support/layers.js';
import { failureOf, freePort } from '../support/ranks.js';

const run = ['run', tinyMixtral, '--input', activations];

describe('run --ranks', () => {
  test('writes what one process writes, and says how many ranks there were', async () => {
    const folder = await temporaryFolder();
    const [alone, spread] = ['alone', 'spread'].map((name) => join(folder, name)) as [
      string,
      string,
    ];
    const capacity = ['--set', 'capacity_factor=1.0', '--set', 'comp_comm_parallel=true'];
    await nodeMoeJson([...run, '--layer', '0,1', ...capacity, '--output', alone, '--routing']);
    const { layers } = await nodeMoeJson<{ layers: { ranks: number; droppedChoices: number }[] }>([
      ...run,
      ...['--layer', '0,1', ...capacity, '--ranks', '3', '--uneven-experts'],
      ...['--output', spread, '--routing'],
    ]);
    expect(await readFile(spread)).toEqual(await readFile(alone));
    for (const { ranks, droppedChoices } of layers) {
      expect(ranks).toBe(3);
      expect(droppedChoices).toBeGreaterThan(0);
    }
  });

  test('says why a worker cannot do its part', async () => {
    const { code, stderr } = await nodeMoe([...run, '--layer', '0', '--ranks', '3']);
    expect(code).toBe(1);
    expect(stderr).toContain('unevenExperts');
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });
});

test('bench --ranks checks and times a layer on several processes', async () => {
  const result = await nodeMoeJson<{ ranks: number; cases: { tokens: number }[] }>([
    ...[
      'bench',
      '--ranks',
      '2',
      '--hidden',
      '64',
      '--intermediate',
      '32',
      '--experts',
      '4',
      '--top-k',
      '2',
    ],
    ...['--tokens', '1,9', '--seconds', '0.05', '--event-loop', '0'],
  ]);
  expect(result.ranks).toBe(2);
  expect(result.cases.map(({ tokens }) => tokens)).toEqual([1, 9]);
});

describe('worker', () => {
  test('serves its experts to a program until that leaves, however long it is idle', async () => {
    const store = `tcp://127.0.0.1:${await freePort()}`;
    const place = ['--rank', '1', '--size', '2', '--store', store, '--timeout', '1000'];
    const worker = nodeMoe(['worker', tinyMixtral, '--layer', '0,1', ...place]);
    const group = await ExpertGroup.join({
      rank: 0,
      size: 2,
      store,
      workers: true,
      timeoutMs: 20_000,
    });
    const layers = [
      await MoELayer.load(tinyMixtral, { layer: 0, group }),
      await MoELayer.load(tinyMixtral, { layer: 1, group }),
    ];
    const hidden = randomValues(9 * (layers[0]?.hiddenSize ?? 0), 1);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    for (const number of [1, 0, 1]) {
      await using alone = await MoELayer.load(tinyMixtral, { layer: number });
      const expected = await alone.forward(hidden);
      const { output } = await (layers[number] as MoELayer).forward(hidden);
      expect(output).toEqual(expected.output);
    }
    for (const layer of layers) await layer.close();
    await group.close();
    expect(await worker).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  test('fails when rank 0 dies', async () => {
    const store = `tcp://127.0.0.1:${await freePort()}`;
    const place = ['--rank', '1', '--size', '2', '--store', store];
    const worker = nodeMoe(['worker', tinyMixtral, '--layer', '0', ...place]);
    const script =
      "const { ExpertGroup, MoELayer } = await import('./dist/index.js');" +
      `const group = await ExpertGroup.join({ rank: 0, size: 2, store: '${store}', workers: true });` +
      `await MoELayer.load('${tinyMixtral}', { layer: 0, group });` +
      "process.kill(process.pid, 'SIGKILL');";
    const { spawn } = await import('node:child_process');
    spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
    const { code, stderr } = await worker;
    expect(code).toBe(1);
    expect(stderr).toContain('ERR_MOE_PEER_LOST');
  });

  test('is told what it lacks', async () => {
    const place = ['--size', '2', '--store', 'tcp://127.0.0.1:1'];
    for (const [args, said] of [
      [['worker', tinyMixtral, '--rank', '0', ...place], '--rank'],
      [['worker', '--rank', '1', ...place], 'checkpoint'],
      [['worker', tinyMixtral, '--rank', '1', '--size', '2', '--store', 'nowhere'], 'store'],
    ] as const) {
      const { code, stderr } = await nodeMoe(args);
      expect(code).toBe(2);
      expect(stderr).toContain(said);
    }
  });

  test('only ranks above 0 of a group with workers follow', async () => {
    const store = `tcp://127.0.0.1:${await freePort()}`;
    await using group = await ExpertGroup.join({ rank: 0, size: 1, store });
    expect(await failureOf(group.follow([]))).toMatchObject({ code: 'ERR_MOE_CONFIG' });
    expect(
      await failureOf(
        ExpertGroup.join({ rank: 0, size: 2, store, modelParallel: 2, workers: true }),
      ),
    ).toMatchObject({ code: 'ERR_MOE_CONFIG' });
  });
});
