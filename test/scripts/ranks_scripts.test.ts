// The scripts that measure ranks run to their end, on little work.
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { obstacle } from '../../scripts/network/link.mjs';
import { root } from '../fixtures/command_line.js';

const run = (script: string, ...options: string[]) =>
  execFileSync(process.execPath, [`scripts/${script}`, ...options], {
    cwd: root,
    encoding: 'utf8',
    timeout: 100_000,
  });

test('two ranks on this machine beside the sum of their parts', { timeout: 120_000 }, () => {
  const result = JSON.parse(
    run('ranks-loopback.mjs', '--tokens', '4', '--rounds', '3', '--repeat', '1'),
  );
  for (const part of ['computeMilliseconds', 'exchangeMilliseconds', 'forwardMilliseconds'])
    expect(result[part]).toBeGreaterThan(0);
  expect(Number.isFinite(result.overhead)).toBe(true);
});

const reason = obstacle();

test.skipIf(reason !== '')(
  `ranks with a slow link between them${reason && ` (skipped: ${reason})`}`,
  { timeout: 120_000 },
  () => {
    const slow = ['--rate', '400', '--delay', '2', '--tokens', '32'];
    const { overlap, groupWise } = JSON.parse(run('ranks-network.mjs', ...slow));
    expect(overlap.link.secondsPerExchange).toBeGreaterThan(2e-3);
    expect(overlap.link.bytesPerSecond).toBeLessThan(400e6 / 8);
    expect(overlap.pieces).toHaveLength(4);
    expect(groupWise.factor).toBeGreaterThan(1.7);
    expect(groupWise.factor).toBeLessThan(2.3);
  },
);
