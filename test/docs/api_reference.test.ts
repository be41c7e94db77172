import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { root } from '../fixtures/command_line.js';

test('everything that is exported is documented, and every link leads somewhere', {
  timeout: 180_000,
}, () => {
  const args = ['node_modules/typedoc/bin/typedoc', '--emit', 'none', '--skipErrorChecking'];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
  });
  expect(stdout + stderr).not.toMatch(/\[(warning|error)\]/);
  expect(status).toBe(0);
});
