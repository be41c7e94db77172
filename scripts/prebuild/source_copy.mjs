// A copy of what the repository holds, to build and pack in without touching the working tree's own build.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';

const kept = ['node_modules', 'dist', 'build'];

/**
 * Brings `folder` up to date with the files of `root` that git knows or would take. A file that is the same is left alone, one
 * that changed is new from now on: what was built of it before is older.
 */
export function copySources(root, folder) {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  const files = new Set(listed.split('\0').filter((file) => file && existsSync(join(root, file))));
  mkdirSync(folder, { recursive: true });
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const file = relative(folder, join(entry.parentPath ?? entry.path, entry.name));
    if (entry.isFile() && !kept.includes(file.split('/')[0]) && !files.has(file))
      rmSync(join(folder, file));
  }
  for (const file of files)
    if (!same(join(root, file), join(folder, file))) copy(root, folder, file);
  rmSync(join(folder, 'prebuilds'), { recursive: true, force: true });
  if (!existsSync(join(folder, 'node_modules')))
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
}

function same(one, other) {
  return existsSync(other) && readFileSync(one).equals(readFileSync(other));
}

function copy(root, folder, file) {
  mkdirSync(dirname(join(folder, file)), { recursive: true });
  cpSync(join(root, file), join(folder, file));
}
