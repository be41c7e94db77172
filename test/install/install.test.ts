import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { chmod, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  cleanEnvironment,
  emptyFolder,
  expectRun,
  install,
  makePackages,
  pathWithoutCompiler,
  type RunOptions,
  removeFolder,
  root,
  run,
} from './packed.js';
import { commonJs, disposal, esm, typed, workers } from './programs.js';

/** The project most tests use: in a path with spaces and other letters, without scripts, without a compiler. */
let project: string;
let path: string;
let tarball: string;

beforeAll(async () => {
  // What is asked here does not depend on instruction sets, each of which takes long to compile: one is enough.
  const fewest = { MOE_CPU_ISAS: process.arch === 'x64' ? 'avx2' : 'neon' };
  const packages = await makePackages([`linux-${process.arch}`, '--no-cuda'], fewest);
  tarball = packages.get('node-moe') as string;
  project = await emptyFolder('ein Ordner – 模型');
  path = await pathWithoutCompiler(join(project, '..', 'bin'));
  const { code, text } = await install(project, [tarball], ['--ignore-scripts'], { PATH: path });
  if (code !== 0) throw new Error(text);
}, 600_000);

afterAll(() => removeFolder(project));

/** Writes a program into the project and runs it. */
async function program(
  file: string,
  source: string,
  flags: readonly string[] = [],
  options: RunOptions = {},
): Promise<string> {
  await writeFile(join(project, file), source);
  const { text } = await run(process.execPath, [...flags, file], {
    cwd: project,
    env: { ...cleanEnvironment(), PATH: path },
    ...options,
  });
  return text.trim();
}

const installed = (...parts: string[]) => join(project, 'node_modules', ...parts);

describe('installed without scripts and without a compiler, in a path with spaces and other letters', () => {
  test('is used by import', async () => {
    expect(await program('esm.mjs', esm)).toBe('ok');
  });

  test('is used by require', async () => {
    expect(await program('common.cjs', commonJs)).toBe('ok');
  });

  test('is used by workers', async () => {
    expect(await program('workers.mjs', workers)).toBe('ok');
  });

  test('makes no code from strings', async () => {
    const flag = '--disallow-code-generation-from-strings';
    expect(await program('strict.mjs', disposal, [flag])).toBe('ok');
  });

  test('is used by somebody who may write nothing there', async () => {
    const everything = await readdir(installed(), { recursive: true, withFileTypes: true });
    for (const entry of everything)
      await chmod(
        join(entry.parentPath ?? entry.path, entry.name),
        entry.isDirectory() ? 0o555 : 0o444,
      );
    const nobody = process.getuid?.() === 0 ? { uid: 65534 } : {};
    expect(await program('esm.mjs', esm, [], nobody)).toBe('ok');
  });

  test('has a command', async () => {
    const text = await expectRun(
      process.execPath,
      [installed('node-moe/dist/cli/main.js'), 'devices'],
      {
        env: { ...cleanEnvironment(), PATH: path },
      },
    );
    expect(text).toMatch(/cpu .*(avx2|avx512|neon|baseline)/s);
    expect(text).toContain('the npm package node-moe-cuda-linux-');
    expect(readdirSync(installed('.bin'))).toContain('node-moe');
  });

  test.each([
    ['node16', 'node16', ['module.mts', 'module.cts']],
    ['esnext', 'bundler', ['module.ts']],
  ])(
    'has types for module %s with resolution %s in %j',
    {
      timeout: 120_000,
    },
    async (module, resolution, files) => {
      for (const file of files) await writeFile(join(project, file), typed);
      const flags = [
        '--noEmit',
        '--strict',
        '--target',
        'es2022',
        '--lib',
        'es2023,esnext.disposable',
      ];
      const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')];
      const tsc = join(root, 'node_modules/typescript/bin/tsc');
      const args = [tsc, ...flags, ...types, '--module', module, '--moduleResolution', resolution];
      expect(await run(process.execPath, [...args, ...files], { cwd: project })).toEqual({
        code: 0,
        text: '',
      });
    },
  );

  test('brings what it says and nothing else', () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const manifest = JSON.parse(readFileSync(installed('node-moe/package.json'), 'utf8'));
    expect(manifest.version).toBe(version);
    expect(manifest.scripts.install).toBeUndefined();
    expect(existsSync(installed('node-moe/binding.gyp'))).toBe(false); // npm would run node-gyp
    expect(manifest.peerDependencies).toEqual({
      'node-moe-cuda-linux-x64': version,
      'node-moe-gloo-linux-x64': version,
    });
    const top = readdirSync(installed('node-moe')).sort();
    expect(top).not.toContain('test');
    for (const file of ['LICENSE', 'README.md', 'SECURITY.md', 'CHANGELOG.md', 'docs', 'prebuilds'])
      expect(top).toContain(file);
    expect(readdirSync(installed('node-moe/prebuilds'))).toEqual([`linux-${process.arch}`]);
    expect(existsSync(installed('node-moe/build'))).toBe(false);
  });
});

describe('a binary that is missing or wrong is one message that says what was looked for, where, and what to do', () => {
  /** A copy of the installed package with its addon changed. */
  async function withAddon(change: (file: string) => void): Promise<string> {
    const copy = await emptyFolder('copy');
    cpSync(project, copy, { recursive: true });
    await run('chmod', ['-R', 'u+w', copy]);
    const folder = join(copy, 'node_modules/node-moe/prebuilds', `linux-${process.arch}`);
    change(join(folder, 'node-moe.glibc.node'));
    const script = `import('node-moe').then(({ devices }) => devices()).catch((e) => console.log(e.code, e.message))`;
    const { text } = await run(process.execPath, ['-e', script], {
      cwd: copy,
      env: cleanEnvironment(),
    });
    await removeFolder(copy);
    return text;
  }

  const build =
    / Build it, with CMake .*: `node "\S.*node_modules\/node-moe\/scripts\/build-native\.cjs"`\./;
  const where =
    / This is linux-\w+, Node v\S+; looked in \S.*node_modules\/node-moe\/build\/Release and .*prebuilds\.\n$/;

  test('missing', async () => {
    const text = await withAddon((file) => rmSync(file));
    expect(text).toMatch(
      /^ERR_MOE_DEVICE_UNAVAILABLE node-moe cannot load its addon: No native build was found for platform=linux arch=\w+/,
    );
    expect(text).toMatch(build);
    expect(text).toMatch(where);
  });

  test('cut off', async () => {
    const text = await withAddon((file) =>
      writeFileSync(file, readFileSync(file).subarray(0, 10_000)),
    );
    expect(text).toMatch(/was cut off at 10000 of \d+ bytes\. Install node-moe again/);
    expect(text).toMatch(where);
  });

  test('of another machine', async () => {
    const text = await withAddon((file) => {
      const bytes = readFileSync(file);
      bytes.writeUInt16LE(0xf3, 18); // e_machine: RISC-V
      writeFileSync(file, bytes);
    });
    expect(text).toMatch(build);
    expect(text).toMatch(/cannot open shared object file|wrong ELF class|invalid ELF header/);
  });

  test('a build without a compiler fails with what to install', async () => {
    const script = installed('node-moe/scripts/build-native.cjs');
    const env = { ...cleanEnvironment(), PATH: path };
    const { code, text } = await run(process.execPath, [script], { env });
    expect(code).not.toBe(0);
    expect(text).toMatch(
      /node-moe: its addon cannot be built from source here: cmake and a C\+\+ compiler .*not found\. Install CMake/,
    );
  });
});
