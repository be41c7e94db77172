import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';

test('the pictures show what layers do now, and every picture is shown', {
  timeout: 60_000,
}, async () => {
  const folder = await temporaryFolder();
  execFileSync(process.execPath, ['scripts/pictures.mjs', folder], { cwd: root });
  const names = readdirSync(folder).sort();
  expect(readdirSync(join(root, 'docs/pictures')).sort()).toEqual(names);
  const text = readFileSync(join(root, 'docs/moe-config.md'), 'utf8');
  for (const name of names) {
    expect(text).toContain(`(pictures/${name})`);
    expect(readFileSync(join(root, 'docs/pictures', name), 'utf8')).toBe(
      readFileSync(join(folder, name), 'utf8'),
    );
  }
});
