import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { root } from '../fixtures/command_line.js';

test('requests that end in every way, while models and servers are closed under them, are all answered and leave nothing', {
  timeout: 120_000,
}, async () => {
  const args = ['--expose-gc', 'scripts/stress-model.mjs', '--requests', '1000'];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
  expect(stdout).toMatch(/heapUsed grew by/);
});
