// The guides name everything that there is: a command, option, field or code that is added is documented, or this fails.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { errorCodes } from '../../src/base/errors.js';
import { defaults } from '../../src/config/fields.js';
import { activations, expertRows } from '../../src/layer/experts.js';
import { weightTypes } from '../../src/layer/options.js';
import { nodeMoe, root } from '../fixtures/command_line.js';

const page = (name: string) => readFileSync(join(root, 'docs', name), 'utf8');

describe('the guides cover', () => {
  test('every error code, and no other', () => {
    const named = [...page('troubleshooting.md').matchAll(/^\| `(ERR_MOE_\w+)`/gm)];
    expect(named.map(([, code]) => code).sort()).toEqual([...errorCodes].sort());
  });

  test('every field of MoEConfig', () => {
    const rows = [...page('moe-config.md').matchAll(/^\| `(\w+)`(?: \(V2\))? +\|/gm)];
    const named = rows.map(([, field]) => field);
    expect(Object.keys(defaults).filter((field) => !named.includes(field))).toEqual([
      'routingPolicy', // has a section
    ]);
  });

  test('every command with every option', { timeout: 120_000 }, async () => {
    const { stdout } = await nodeMoe(['--help']);
    const commands = [...stdout.matchAll(/^ {2}([\w-]+) .*<|^ {2}([\w-]+) \[/gm)].map(
      ([, a, b]) => a ?? b,
    );
    expect(commands.length).toBeGreaterThanOrEqual(5);
    const text = page('command-line.md');
    for (const command of commands.filter((name) => name !== 'help')) {
      const { stdout: help } = await nodeMoe([command as string, '--help']);
      expect(text).toContain(`\n## ${command}\n`);
      const section = text.split(`\n## ${command}\n`)[1]?.split('\n## ')[0] ?? '';
      const options = [...help.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(
        ([, name]) => name as string,
      );
      const general = ['--json', '--help'];
      const missing = options.filter((name) => !general.includes(name) && !section.includes(name));
      expect([command, missing]).toEqual([command, []]);
    }
  });

  test('every weight type, activation and option of experts', () => {
    for (const type of weightTypes) expect(page('command-line.md')).toContain(type);
    for (const word of [...activations, ...Object.keys(expertRows)])
      expect(page('checkpoints.md')).toContain(`\`${word}\``);
  });
});
