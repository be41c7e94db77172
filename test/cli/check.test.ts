import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { nodeMoe, root } from '../fixtures/command_line.js';

interface Report {
  devices: { device: string; emulated: boolean; outcomes: { name: string; status: string }[] }[];
  unavailable: Record<string, string>;
}

const plugins = `${root}/build/test/plugins`;
const fakes = { MOE_PLUGIN_PATH: plugins };

test('devices --check without a device to check fails and still says why there is none', async () => {
  const { code, stdout, stderr } = await nodeMoe(['devices', '--check', 'ascend:9']);
  expect(code).toBe(1);
  expect(stderr).toMatch(/^node-moe: there is no device to check called ascend:9\n$/);
  expect(stdout).toMatch(/ascend +not available: |Report/);
});

test('devices --check of a name that is none is wrong usage', async () => {
  expect(await nodeMoe(['devices', '--check', 'npu'])).toMatchObject({ code: 2, stdout: '' });
});

describe.skipIf(!existsSync(plugins))(
  'devices --check of a device (skipped where `npm run test:native` has not built the fakes)',
  () => {
    test('passes on a device that computes what the CPU does, and says what it refuses', async () => {
      const { code, stdout } = await nodeMoe(['devices', '--check', 'cuda', '--json'], fakes);
      const report = JSON.parse(stdout) as Report;
      expect(report.devices).toMatchObject([{ device: 'cuda:0', emulated: true }]);
      const outcomes = report.devices[0]?.outcomes ?? [];
      expect(outcomes.filter(({ status }) => status === 'refused').map(({ name }) => name)).toEqual(
        ['int8 weights and rows'],
      );
      expect(outcomes.filter(({ status }) => status === 'failed')).toEqual([]);
      expect(outcomes.length).toBeGreaterThan(25);
      expect(report.unavailable['ascend']).toMatch(/libmoe_ascend\.so/);
      expect(code).toBe(0);
    });

    test('fails where the device fails, and the report says how', async () => {
      const environment = { ...fakes, MOE_FAKE_FAIL: 'combine' };
      const { code, stdout, stderr } = await nodeMoe(['devices', '--check', 'cuda:1'], environment);
      expect(code).toBe(1);
      expect(stderr).toMatch(/^node-moe: \d+ checks failed\n$/);
      expect(stdout).toContain('The fake device failed in combine');
      expect(stdout).toContain('0 passed');
    });
  },
);
