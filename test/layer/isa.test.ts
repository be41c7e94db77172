import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { devices } from '../../src/index.js';
import { cases } from '../cases.js';

const cpu = devices().find(({ name }) => name === 'cpu');
const kernels = cpu?.available ? (cpu.devices[0]?.kernels ?? '') : '';
const names = [...new Set(kernels.match(/avx512vnni|avx512|avx2|baseline|neon/g))];

test.each(names)('%s passes the numerical tests', { timeout: 120_000 }, async (isa) => {
  const args = [
    'node_modules/vitest/vitest.mjs',
    'run',
    'test/checkpoint/numerics.test.ts',
    '--reporter=json',
  ];
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    env: { ...process.env, MOE_CPU_ISA: isa },
    maxBuffer: 1 << 26,
  });
  const report = JSON.parse(stdout.slice(stdout.indexOf('{')));
  expect(report.numPassedTests).toBeGreaterThan(cases.length);
  expect(report.numFailedTests).toBe(0);
});
