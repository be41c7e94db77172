import { spawn } from 'node:child_process';
import { chmod, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { OutputFile } from '../../src/base/output_file.js';
import { activations, nodeMoe, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';

const old = 'what stood there';

async function replace(path: string): Promise<void> {
  await using file = await OutputFile.open('--out', path);
  await file.write([Buffer.from('ne'), Buffer.from('w')]);
}

describe('a file that the user names', () => {
  test('is replaced where a path leads to, the link stays, and so does the mode', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'far'));
    await mkdir(join(folder, 'near'));
    await writeFile(join(folder, 'far/file'), old);
    await chmod(join(folder, 'far/file'), 0o640);
    await symlink('../far/file', join(folder, 'near/link'));
    await replace(join(folder, 'near/link'));
    expect((await lstat(join(folder, 'near/link'))).isSymbolicLink()).toBe(true);
    expect(await readFile(join(folder, 'far/file'), 'utf8')).toBe('new');
    expect((await stat(join(folder, 'far/file'))).mode & 0o777).toBe(0o640);
    expect(await readdir(join(folder, 'far'))).toEqual(['file']);
  });

  test('is made where a link leads to, also through a folder that is one', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'a/b'), { recursive: true });
    await symlink('a/b', join(folder, 'short'));
    await symlink('../file', join(folder, 'a/b/link'));
    await replace(join(folder, 'short/link'));
    expect(await readFile(join(folder, 'a/file'), 'utf8')).toBe('new');
    expect((await lstat(join(folder, 'a/b/link'))).isSymbolicLink()).toBe(true);
  });

  test('stays as it was until the new one is whole, and where that fails', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'file');
    await writeFile(path, old);
    {
      await using file = await OutputFile.open('--out', path, { outOfOrder: true });
      await file.writeAt(Buffer.from('half'), 0);
    }
    expect(await readFile(path, 'utf8')).toBe(old);
    expect(await readdir(folder)).toEqual(['file']);
  });

  test('a device that is full says so under the option’s name', async () => {
    await expect(replace('/dev/full')).rejects.toThrow(
      /^Expected `--out` to name a file that can be written, got \/dev\/full: ENOSPC/,
    );
    expect((await stat('/dev/full')).isCharacterDevice()).toBe(true);
  });

  test.each([
    ['a folder', '.', /got .*, which is a folder$/],
    ['in no folder', 'none/file', /got .*none\/file: ENOENT/],
    ['below a file', 'file/below', /got .*file\/below: ENOTDIR/],
    ['in a ring of links', 'ring', /got .*ring: ELOOP/],
    ['of a name too long', 'x'.repeat(300), /got .*: ENAMETOOLONG/],
  ])('%s is refused before anything is written', async (_, name, message) => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'file'), old);
    await symlink('ring', join(folder, 'ring'));
    await expect(OutputFile.open('--out', join(folder, name))).rejects.toThrow(message);
    expect((await readdir(folder)).sort()).toEqual(['file', 'ring']);
  });

  test('an empty path is no file', async () => {
    await expect(OutputFile.open('--out', '')).rejects.toThrow(
      /^Expected `--out` to name a file, got an empty path$/,
    );
  });
});

const input = ['--input', activations];
const commands: [string, string[], string][] = [
  ['pack', [tinyMixtral, '--layer', '0'], '--out'],
  ['run', [tinyMixtral, '--layer', '0', ...input], '--output'],
  ['report', [tinyMixtral, '--layer', '0', ...input], '--html'],
];

describe.each(commands)('%s', (command, args, option) => {
  const to = (path: string) => nodeMoe([command, ...args, option, path]);

  test('writes through a link', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'file'), old);
    await symlink('file', join(folder, 'link'));
    expect(await to(join(folder, 'link'))).toMatchObject({ code: 0, stderr: '' });
    expect((await lstat(join(folder, 'link'))).isSymbolicLink()).toBe(true);
    expect((await stat(join(folder, 'file'))).size).toBeGreaterThan(1000);
    expect((await readdir(folder)).sort()).toEqual(['file', 'link']);
  });

  test('leaves a device as it is', async () => {
    const { code, stderr } = await to('/dev/full');
    expect(code).toBe(1);
    expect(stderr).toMatch(
      new RegExp(`^node-moe: Expected \`${option}\` to name a .*, got /dev/full[^\n]+\n$`),
    );
    expect((await stat('/dev/full')).isCharacterDevice()).toBe(true);
    expect(await readdir('/dev')).not.toContainEqual(expect.stringMatching(/^full\./));
  });

  test('names the option, the path and the reason where it cannot write', async () => {
    const { code, stderr } = await to('/nowhere/at/all');
    expect(code).toBe(1);
    expect(stderr).toMatch(
      new RegExp(
        `^node-moe: Expected \`${option}\` to name a file .*, got /nowhere/at/all: ENOENT`,
      ),
    );
  });
});

describe('a pipe', () => {
  /** Runs a command on a pipe that is read. */
  async function through(command: string, args: readonly string[], option: string) {
    const folder = await temporaryFolder();
    const pipe = join(folder, 'pipe');
    await new Promise((resolve) => spawn('mkfifo', [pipe]).on('close', resolve));
    const reader = spawn('cat', [pipe]);
    const chunks: Buffer[] = [];
    reader.stdout.on('data', (chunk) => chunks.push(chunk));
    const closed = new Promise((resolve) => reader.on('close', resolve));
    const finished = await nodeMoe([command, ...args, option, pipe]);
    expect((await stat(pipe)).isFIFO()).toBe(true);
    if (finished.code !== 0) reader.kill();
    await closed;
    return { ...finished, bytes: Buffer.concat(chunks) };
  }

  test.each(commands.slice(1))('%s writes into it', async (command, args, option) => {
    const { code, bytes } = await through(command, args, option);
    expect(code).toBe(0);
    expect(bytes.byteLength).toBeGreaterThan(1000);
  });

  test('pack, which does not write in order, refuses it and leaves it', async () => {
    const [command, args, option] = commands[0] as (typeof commands)[0];
    const { code, stderr } = await through(command, args, option);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^node-moe: Expected `--out` to name a regular file, got .*pipe, which is a pipe\n$/,
    );
  });
});
