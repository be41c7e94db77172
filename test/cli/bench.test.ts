import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { measureLateness } from '../../src/cli/bench/lateness.js';
import { relativeError } from '../../src/cli/bench/reference.js';
import type { BenchResult } from '../../src/cli/bench/run_bench.js';
import { quantile, spread } from '../../src/cli/bench/samples.js';
import { nodeMoe, nodeMoeJson } from '../fixtures/command_line.js';

const tiny = [
  'bench',
  '--hidden',
  '256',
  '--intermediate',
  '512',
  '--experts',
  '8',
  '--top-k',
  '2',
  '--seconds',
  '0.05',
];

test('bench gives checked times, rates and fractions of the machine’s own peak', {
  timeout: 120_000,
}, async () => {
  const result = await nodeMoeJson<BenchResult>([
    ...tiny,
    '--tokens',
    '1,64',
    '--weight-type',
    'float32,bfloat16',
    '--event-loop',
    '0.3',
  ]);
  expect(result.kernels).toMatch(/\w/);
  expect(result.busyFraction).toBeGreaterThanOrEqual(0);
  expect(result.busyFraction).toBeLessThanOrEqual(1);
  expect(result.machine?.gflops).toBeGreaterThan(0);
  expect(result.machine?.gigabytesPerSecond).toBeGreaterThan(0);
  const keys = result.cases.map(({ weightType, tokens }) => `${weightType} ${tokens}`);
  expect(keys).toEqual(['float32 1', 'float32 64', 'bfloat16 1', 'bfloat16 64']);
  for (const { tokens, activeExperts, nodeMoe } of result.cases) {
    const { median, p10, p90 } = nodeMoe.milliseconds;
    expect(p10).toBeGreaterThan(0);
    expect(p10 <= median && median <= p90).toBe(true);
    expect(nodeMoe.samples).toBeGreaterThanOrEqual(5);
    expect(nodeMoe.error).toBeLessThan(1e-4);
    expect(nodeMoe.gflops).toBeCloseTo((6 * tokens * 2 * 256 * 512) / median / 1e6, 6);
    // A round's limit is at most the best one; a round's time is not the median of all, but near.
    const { gflops = Number.NaN, gigabytesPerSecond = Number.NaN } = result.machine ?? {};
    expect(nodeMoe.flopFraction).toBeGreaterThan((0.2 * nodeMoe.gflops) / gflops);
    expect(nodeMoe.flopFraction).toBeLessThan(1.5);
    expect(nodeMoe.bandwidthFraction).toBeGreaterThan(
      (0.2 * nodeMoe.gigabytesPerSecond) / gigabytesPerSecond,
    );
    expect(activeExperts).toBeGreaterThanOrEqual(2);
    expect(activeExperts).toBeLessThanOrEqual(8);
  }
  const { ticks = 0, p50 = Number.NaN, workMilliseconds = 0 } = result.eventLoop?.nodeMoe ?? {};
  expect(ticks).toBeGreaterThan(2); // one, and late by all the work, where calls block the loop
  expect(p50).toBeLessThan(workMilliseconds / 2);
});

test('bench prints a table of times and fractions, and how late the event loop ran', async () => {
  const { code, stdout } = await nodeMoe([...tiny, '--tokens', '16', '--event-loop', '0.1']);
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /float32 +16 +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms +[\d.]+ +[\d.]+ % +[\d.]+ +[\d.]+ %/,
  );
  expect(stdout).toContain('5 ms interval');
});

const plugins = join(import.meta.dirname, '../../build/test/plugins');
test.skipIf(!existsSync(plugins))(
  'bench on another device names it, has no limit to compare with, and says when it is emulated (skipped where `npm run test:native` has not built the fakes)',
  async () => {
    const args = [...tiny, '--device', 'cuda', '--tokens', '3', '--event-loop', '0'];
    const env = { MOE_PLUGIN_PATH: plugins };
    const { code, stdout } = await nodeMoe([...args, '--json'], env);
    expect(code).toBe(0);
    const result = JSON.parse(stdout) as BenchResult;
    expect(result.device).toBe('cuda:0');
    expect(result.deviceName).toBe('Fake device');
    expect(result.emulated).toBe(true);
    expect(result.machine).toBeUndefined();
    expect(result.cases[0]?.nodeMoe.flopFraction).toBeUndefined();
    expect(result.cases[0]?.nodeMoe.gflops).toBeGreaterThan(0);
    const report = await nodeMoe(args, env);
    expect(report.stdout).toContain('cuda:0, Fake device, host loops');
    expect(report.stdout).toContain('its times mean nothing');
  },
);

test('Ctrl-C ends a measurement with 1 and one line', async () => {
  const args = [...tiny, '--tokens', '1', '--seconds', '600', '--event-loop', '0'];
  const { code, stdout, stderr } = await nodeMoe(args, {}, 3000);
  expect([code, stdout, stderr]).toEqual([1, '', 'node-moe: interrupted\n']);
});

test('weights that cannot fit into memory are refused before they are made', async () => {
  const { code, stderr } = await nodeMoe([
    'bench',
    '--shape',
    'deepseek-v3',
    '--experts',
    '100000',
  ]);
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /Expected the weights and the largest batch \([\d.]+ TiB\) to fit .*`--experts` .*\(ERR_MOE_OUT_OF_MEMORY\)/,
  );
});

test('quantiles are samples, and an outlier does not move the median', () => {
  expect(spread([3, 1, 2, 1000, 2])).toEqual({ median: 2, p10: 1, p90: 1000 });
  expect(quantile([], 0.5)).toBeNaN();
});

test('an error that is not a number stays one', () => {
  const reference = [{ token: 0, elements: [0, 1, 2].map((column) => ({ column, value: 1 })) }];
  expect(relativeError(reference, (_, column) => [1, 1.5, 1][column] ?? 0)).toBe(0.5);
  expect(relativeError(reference, (_, column) => [1, Number.NaN, 1][column] ?? 0)).toBeNaN();
});

test('a blocked event loop is seen as late by the time it was blocked', async () => {
  const blocked = await measureLateness(async () => {
    for (const end = performance.now() + 100; performance.now() < end; );
  });
  expect(blocked.max).toBeGreaterThan(80);
  expect(blocked.ticks).toBe(1);
});
