// MOE_PROFILE=1: what the stages of a layer took, on stderr.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { root } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';

/** What a process prints that makes a layer, runs it three times, and ends. */
async function printed(argument: object, profile: string): Promise<string> {
  const args = ['test/fixtures/profiled.mjs', JSON.stringify({ calls: 3, ...argument })];
  const env = { ...process.env, MOE_PROFILE: profile };
  const { stderr } = await promisify(execFile)(process.execPath, args, { cwd: root, env });
  return stderr;
}

const stageLine = /^([a-z]+) +(\d+) +(\d+\.\d+) +(\d+\.\d+)$/gm;

/** How often each stage ran. Experts take time, and the mean of each stage is what its count and total say. */
function counts(text: string): Record<string, number> {
  const stages = [...text.matchAll(stageLine)].map(([, stage, ...numbers]) => {
    const [count, total, mean] = numbers.map(Number) as [number, number, number];
    expect(Math.abs(total / count - mean), stage).toBeLessThan(1e-3);
    if (stage === 'run' || stage === 'up') expect(total).toBeGreaterThan(0);
    return [stage, count];
  });
  expect(stages.length + 2, text).toBe(text.trimEnd().split('\n').length);
  return Object.fromEntries(stages);
}

const here = { upload: 3, route: 3, plan: 3, run: 3, shared: 3, combine: 3, download: 3 };

test.each([
  ['that is closed', true],
  ['that is open when the process ends', false],
])('every stage of a layer %s is printed once', async (_, close) => {
  const text = await printed({ close }, '1');
  expect(text).toContain('node-moe: times of a layer on cpu (H 32, I 24, E 4, K 2, float32)\n');
  expect(counts(text)).toEqual(here);
});

test.each(['', '0'])('nothing is printed with MOE_PROFILE=%s', async (profile) => {
  expect(await printed({ close: true }, profile)).toBe('');
});

test('nothing is printed of a layer that has not run', async () => {
  expect(await printed({ close: true, calls: 0 }, '1')).toBe('');
});

test.each([
  ['sets of one', 1, { run: 3 }],
  ['a set that shares the columns', 2, { up: 3, down: 3 }],
])('ranks print the exchange and what they run, %s', async (_, modelParallel, ran) => {
  const store = `file://${join(await temporaryFolder(), 'store')}`;
  const { run, ...others } = here;
  const texts = await Promise.all(
    [0, 1].map((rank) =>
      printed({ close: true, group: { rank, size: 2, modelParallel, store } }, '1'),
    ),
  );
  for (const text of texts)
    expect(counts(text)).toEqual({ ...others, plan: 6, exchange: 3, ...ran });
});
