import { spawnSync } from 'node:child_process';
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';

test('a message that the context has no room for is told, and the chat goes on', {
  timeout: 60_000,
}, async () => {
  const folder = await temporaryFolder();
  await cp(join(root, tinyMixtral), folder, { recursive: true });
  const template = '{% for m in messages %}{{ m.content }} {% endfor %}';
  await writeFile(join(folder, 'chat_template.jinja'), template);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['dist/cli/main.js', 'chat', folder, '--max-tokens', '5', '--seed', '1'],
    { cwd: root, encoding: 'utf8', input: `${'too long '.repeat(40)}\nhello\n/reset\nhello\n` },
  );
  expect(stderr).toMatch(
    /^node-moe: Expected a prompt of less than the 192 tokens .*; \/reset begins anew\n$/,
  );
  const answers = stdout.match(/.*prompt of \d+ tokens/g);
  // What was too long is no part of what follows.
  expect(answers).toEqual(Array(2).fill(expect.stringContaining('prompt of 6 tokens')));
  expect(status).toBe(0);
});
