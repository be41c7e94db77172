import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import type { LayerOptions } from '../../src/index.js';
import { cases, seeded } from '../cases.js';
import { randomValues, smallLayer } from '../support/layers.js';

const root = join(import.meta.dirname, '../..');
const plugin = join(root, 'build/test/cuda/plugin');
const built = existsSync(join(plugin, 'libmoe_cuda.so'));

// The addon reads it when it first looks for a plugin.
if (built) process.env.MOE_PLUGIN_PATH = plugin;
const { devices, MoELayer } = await import('../../src/index.js');

/** What the program prints, a value per line, and what the emulated device reports: faults, misuse, leaks. */
async function program(tokens: number[], env: NodeJS.ProcessEnv = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'moe-cuda-'));
  const report = join(folder, 'report');
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [join(root, 'test/fixtures/emulated_cuda.mjs'), ...tokens.map(String)],
    { env: { ...process.env, MOE_PLUGIN_PATH: plugin, CUDA_SIM_REPORT: report, ...env } },
  );
  const lines = existsSync(report) ? readFileSync(report, 'utf8').trim() : 'no report';
  rmSync(folder, { recursive: true });
  return {
    said: stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
    report: lines,
  };
}

describe.skipIf(!built)(
  'the CUDA device, emulated (skipped where `npm run test:native` has not built it: no nvcc)',
  () => {
    const open: { close(): Promise<void> }[] = [];
    afterAll(async () => {
      await Promise.all(open.map((layer) => layer.close()));
    });

    /** The same layer on CUDA and on the CPU. */
    async function both(options: LayerOptions) {
      const cuda = await MoELayer.create({ ...options, device: 'cuda' });
      const cpu = await MoELayer.create({ ...options, device: 'cpu' });
      open.push(cuda, cpu);
      return { cuda, cpu };
    }

    /** The largest difference as a share of the largest value. */
    function difference(actual: Float32Array, expected: Float32Array): number {
      let worst = 0;
      let largest = 0;
      for (const [i, value] of expected.entries()) {
        const error = Math.abs((actual[i] ?? Number.NaN) - value);
        if (!(error <= worst)) worst = error;
        largest = Math.max(largest, Math.abs(value));
      }
      return worst / largest;
    }

    test('is said to be emulated', () => {
      const info = devices().find(({ name }) => name === 'cuda');
      expect(info).toMatchObject({ available: true, devices: [{ index: 0, emulated: true }] });
    });

    const beyond = /identit|weights on|sparse|always|softplus|by logit|more choices/;
    test.each(
      cases.filter(({ name }) => beyond.test(name)).map((shape) => [shape.name, shape] as const),
    )('gives what the CPU gives of %s', async (_, shape) => {
      const { options, hidden } = seeded(shape);
      const { cuda, cpu } = await both(options);
      const result = await cuda.forward(hidden, { routing: true });
      const expected = await cpu.forward(hidden, { routing: true });
      expect(result.routing).toEqual(expected.routing);
      expect(result.expertLoad).toEqual(expected.expertLoad);
      expect(difference(result.output, expected.output)).toBeLessThan(1e-5);
    });

    test.each([
      ['float32', 1e-5],
      ['bfloat16', 0.02],
      ['float16', 0.005],
      ['int8', 0.02],
      ['int4', 0.02],
    ] as const)('gives what the CPU gives with %s weights', async (weightType, tolerance) => {
      const { cuda, cpu } = await both({ ...smallLayer({ E: 6, K: 2, H: 96, I: 64 }), weightType });
      expect(cuda.device).toBe('cuda:0');
      for (const tokens of [0, 1, 5, 70]) {
        const hidden = randomValues(tokens * 96, tokens + 1);
        const actual = await cuda.forward(hidden, { routing: true });
        const expected = await cpu.forward(hidden, { routing: true });
        expect(actual.routing).toEqual(expected.routing);
        expect(actual.expertLoad).toEqual(expected.expertLoad);
        if (tokens > 0)
          expect(difference(actual.output, expected.output)).toBeLessThanOrEqual(tolerance);
        expect((await cuda.forward(hidden)).output).toEqual(actual.output);
        expect(cuda.forwardSync(hidden).output).toEqual(actual.output);
      }
    });

    test('says which weights it holds, and that rows stay floats', async () => {
      const info = devices().find(({ name }) => name === 'cuda');
      const weights = info?.available ? info.devices[0]?.weights : undefined;
      expect(weights?.map(({ type }) => type)).toContain('int4');
      expect(weights?.every(({ activationTypes }) => `${activationTypes}` === 'float')).toBe(true);
      await expect(
        both({ ...smallLayer(), weightType: 'int8', activationType: 'int8' }),
      ).rejects.toThrow(/`activationType` 'float': 'cuda' has no other/);
    });

    test('drops what the CPU drops, and counts the same losses', async () => {
      const { cuda, cpu } = await both(
        smallLayer({
          E: 4,
          K: 2,
          H: 32,
          I: 16,
          config: { routingPolicy: 'TopkRouterV1', capacityFactor: 1 },
        }),
      );
      const hidden = randomValues(50 * 32, 3);
      const actual = await cuda.forward(hidden, { routing: true });
      const expected = await cpu.forward(hidden, { routing: true });
      expect(actual.droppedChoices).toBeGreaterThan(0);
      expect(actual.droppedChoices).toBe(expected.droppedChoices);
      expect(actual.capacity).toBe(expected.capacity);
      expect(actual.routing).toEqual(expected.routing);
      expect(actual.auxLoss).toBeCloseTo(expected.auxLoss, 9);
    });

    test('ends with nothing to report: no fault, no misuse, no leak', async () => {
      const { said, report } = await program([1, 1, 1, 0, 30]);
      expect(said.slice(0, 5)).toEqual(
        [32, 32, 32, 0, 960].map((values) => ({ values, finite: true })),
      );
      expect(said[6]).toEqual({ together: [true, true, true, true] });
      for (const settled of said[7].closed) expect([true, 'ERR_MOE_CLOSED']).toContain(settled);
      expect(report).toBe('');
    });

    test('a batch beyond its memory is an error, and a smaller one then works', async () => {
      const { said, report } = await program([2, 60_000, 2], { CUDA_SIM_MEMORY: String(8 << 20) });
      expect(said[0]).toEqual({ values: 64, finite: true });
      expect(said[1]).toMatchObject({ name: 'DeviceError', code: 'ERR_MOE_OUT_OF_MEMORY' });
      expect(said[2]).toEqual({ values: 64, finite: true });
      expect(report).toBe('');
    });

    test('a lost device is an error of its own, and the process lives', async () => {
      const { said, report } = await program([2, 2, 2], { CUDA_SIM_LOST_AFTER: '12' });
      expect(said.slice(0, 3).map(({ code }) => code)).toContain('ERR_MOE_DEVICE_LOST');
      expect(said[2]).toMatchObject({ name: 'DeviceError', code: 'ERR_MOE_DEVICE_LOST' });
      expect(said[3]).toEqual({ cpu: { values: 64, finite: true } });
      expect(said[4]).toEqual({ together: Array(4).fill('ERR_MOE_DEVICE_LOST') });
      expect(report).toBe('fault: the device is lost because a test asked for it');
    });

    test.each([
      [{ CUDA_SIM_DRIVER: '0' }, /no NVIDIA driver/],
      [{ CUDA_SIM_DRIVER: '12020' }, /driver is for CUDA 12\.2, older than/],
      [{ CUDA_SIM_DEVICES: '0' }, /no CUDA device/],
      [{ CUDA_SIM_ARCH: '75' }, /compute capability 7\.5.*need 8\.0/],
      [{ CUDA_SIM_FAIL: 'cudaGetDeviceCount:1:802' }, /system services/],
    ])('%o is refused with its reason', async (env, reason) => {
      const { said } = await program([], env);
      expect(said[0].create).toMatchObject({
        name: 'DeviceError',
        code: 'ERR_MOE_DEVICE_UNAVAILABLE',
      });
      expect(said[0].create.message).toMatch(reason);
    });
  },
);
