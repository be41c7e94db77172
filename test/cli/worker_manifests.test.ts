// What the example manifests start is a worker that understands its options.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nodeMoe } from '../fixtures/command_line.js';

const folder = join(import.meta.dirname, '../../examples/expert-parallel');

test.each(readdirSync(folder))(
  '%s names only options that the worker has, and those it needs',
  async (file) => {
    const text = readFileSync(join(folder, file), 'utf8');
    const [, command = ''] =
      /exec\S* \S*(?:env )?node-moe worker ([^']*?--timeout \d+)/i.exec(
        text.replaceAll('ExecStart=/usr/bin/env', 'exec'),
      ) ?? [];
    const options = [...command.matchAll(/--[a-z-]+/g)].map(([option]) => option);
    const { stdout } = await nodeMoe(['worker', '--help']);
    for (const option of options) expect(stdout).toContain(option);
    for (const needed of ['--rank', '--size', '--store', '--layer'])
      expect(options).toContain(needed);
  },
);
