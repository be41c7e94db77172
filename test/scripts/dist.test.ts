// What is packed is what is built now: nothing in dist is left of a module that was moved or removed.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../fixtures/command_line.js';

/** Files that are made of others than the module of their name. */
const made = /^(commonjs\/|cli\/report\/charts\.)/;

test('every file of dist has its source', () => {
  const files = readdirSync(join(root, 'dist'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(root, 'dist/').length));
  const compiled = files.filter((file) => !made.test(file));
  expect(compiled).toContain('index.js');
  const sourceOf = (file: string) => `src/${file.replace(/(\.d\.ts|\.js|\.js\.map)$/, '.ts')}`;
  expect(compiled.filter((file) => !existsSync(join(root, sourceOf(file))))).toEqual([]);
});
