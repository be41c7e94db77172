import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { type DeviceInfo, devices } from '../../src/index.js';
import { weightGroups } from '../../src/layer/options.js';

const root = join(import.meta.dirname, '../..');
const built = ['build/test', 'build/lead']
  .map((folder) => join(root, folder))
  .find((folder) => existsSync(`${folder}/plugins`));

/** Runs a module with a plugin folder and returns what it prints. */
async function withPlugins(
  folder: string,
  script: string,
  env: NodeJS.ProcessEnv = {},
): Promise<string> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', script],
    {
      cwd: root,
      env: { ...process.env, MOE_PLUGIN_PATH: `${built}/${folder}`, ...env },
    },
  );
  return stdout.trim();
}

const layerScript = `
  import { MoELayer } from './dist/index.js';
  const [E, K, H, I] = [4, 2, 8, 6];
  const tensor = (...shape) => ({ dtype: 'float32', shape,
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i + shape.length)) });
  const options = { config: { expertNum: E, numExpertsChosen: K, routingPolicy: 'TopkRouterV2', capacityFactor: -1 },
    hiddenSize: H, intermediateSize: I,
    weights: { router: tensor(E, H), gate: tensor(E, I, H), up: tensor(E, I, H), down: tensor(E, H, I) } };
  const hidden = tensor(5, H).data;
  try {
    const layer = await MoELayer.create({ ...options, device: process.env.DEVICE ?? 'cuda' });
    const { output } = await layer.forward(hidden);
    const cpu = await MoELayer.create({ ...options, device: 'cpu' });
    const { output: expected } = await cpu.forward(hidden);
    console.log(layer.device, output.every((value, i) => Math.abs(value - expected[i]) <= 1e-5));
  } catch (error) {
    console.log(error.constructor.name, error.code, error.message);
  }`;

test('lists every family in the order auto tries them, with a reason where it cannot run', () => {
  const list = devices();
  expect(list.map(({ name }) => name)).toEqual(['ascend', 'cuda', 'cpu']);
  for (const info of list) {
    if (info.available) expect(info.devices.length).toBeGreaterThan(0);
    else expect(info.reason.length).toBeGreaterThan(10);
  }
  const cpu = list.find(
    (info): info is DeviceInfo & { available: true } => info.name === 'cpu' && info.available,
  );
  expect(cpu?.devices[0]?.threads).toBeGreaterThan(0);
  expect(cpu?.devices[0]?.kernels).toMatch(/avx512|avx2|baseline|neon/);
});

test('a device says which groups of weights it has in the words of `weightGroup`', () => {
  const families = devices().flatMap((family) => (family.available ? family.devices : []));
  const held = families.flatMap(({ weights }) => weights);
  expect(held.find(({ type }) => type === 'int8')?.groups).toContain('all');
  for (const { groups } of held) for (const group of groups) expect(weightGroups).toContain(group);
});

test('an instruction set that is not there is an error that names those that are', async () => {
  const text = await withPlugins('none', layerScript, { DEVICE: 'cpu', MOE_CPU_ISA: 'sse9' });
  expect(text).toMatch(/^DeviceError ERR_MOE_DEVICE_UNAVAILABLE .*(baseline|neon).*sse9/);
});

describe.skipIf(built === undefined)(
  'a plugin (skipped where `npm run test:native` has not built the fakes)',
  () => {
    test('runs as its device, and auto prefers it to the CPU', async () => {
      expect(await withPlugins('plugins', layerScript)).toBe('cuda:0 true');
      expect(await withPlugins('plugins', layerScript, { DEVICE: 'cuda:1' })).toBe('cuda:1 true');
      expect(await withPlugins('plugins', layerScript, { DEVICE: 'auto' })).toBe('cuda:0 true');
    });

    test.each([
      ['open', 'ERR_MOE_DEVICE'],
      ['allocate', 'ERR_MOE_OUT_OF_MEMORY'],
      ['prepare_experts', 'ERR_MOE_DEVICE'],
      ['upload', 'ERR_MOE_DEVICE'],
      ['route', 'ERR_MOE_DEVICE'],
      ['plan', 'ERR_MOE_DEVICE'],
      ['run', 'ERR_MOE_DEVICE'],
      ['combine', 'ERR_MOE_DEVICE'],
      ['download', 'ERR_MOE_DEVICE'],
      ['synchronize', 'ERR_MOE_DEVICE'],
    ])('a failure in %s rejects with %s, and the process lives', async (stage, code) => {
      expect(await withPlugins('plugins', layerScript, { MOE_FAKE_FAIL: stage })).toMatch(
        new RegExp(`^DeviceError ${code} `),
      );
    });

    test.each([
      ['plugins', { MOE_FAKE_UNAVAILABLE: 'no driver' }, 'no driver'],
      ['plugins-other-build', {}, 'install the same version'],
      ['plugins-no-symbol', {}, 'no symbol moe_plugin'],
      ['plugins', { DEVICE: 'cuda:7' }, 'does not exist'],
    ])('%s with %o is refused with the reason', async (folder, env, reason) => {
      const text = await withPlugins(folder, layerScript, env);
      expect(text).toMatch(/^DeviceError ERR_MOE_DEVICE_UNAVAILABLE /);
      expect(text).toContain(reason);
    });
  },
);
