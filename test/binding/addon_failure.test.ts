// What a process says in which the addon cannot load, or finds no threads: the reason first, then what helps against it.
import { execFile } from 'node:child_process';
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { rolldown } from 'rolldown';
import { describe, expect, test } from 'vitest';
import { noAddon } from '../../src/binding/addon_failure.js';
import { root, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';

const run = promisify(execFile);
const dist = `${root}/dist/index.js`;

const tell = `(error) => console.log(error.name, error.code, error.message)`;
const program = `import { devices } from ${JSON.stringify(dist)};
try { devices(); console.log('loaded'); } catch (error) { (${tell})(error); }`;

/** What a program prints. */
async function printed(
  source: string,
  flags: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<string> {
  const args = [...flags, '--input-type=module', '-e', source];
  return (await run(process.execPath, args, { cwd: root, env: { ...process.env, ...env } })).stdout;
}

const failure = /^DeviceError ERR_MOE_DEVICE_UNAVAILABLE node-moe cannot load its addon: /;

describe('an addon that does not load', () => {
  const [major] = process.versions.node.split('.').map(Number) as [number];
  const permission = [
    major < 22 ? '--experimental-permission' : '--permission',
    '--allow-fs-read=*',
  ];

  test('because Node may load none', async () => {
    for (const flags of [permission, ['--no-addons']]) {
      const text = await printed(program, flags);
      expect(text).toMatch(failure);
      expect(text).toMatch(/loading addons is disabled\. Start Node with `--allow-addons`/);
      expect(text).not.toMatch(/CMake/);
    }
    expect(await printed(program, [...permission, '--allow-addons'])).toBe('loaded\n');
  });

  test('because its folder may not be read', async () => {
    const folder = await temporaryFolder();
    const copied = ['dist', 'package.json', 'node_modules/yaml', 'node_modules/node-gyp-build'];
    for (const name of copied)
      await cp(join(root, name), join(folder, name), { recursive: true, dereference: true });
    const readable = ['dist', 'node_modules'].map((name) => `--allow-fs-read=${folder}/${name}/*`);
    const flags = [permission[0] as string, '--allow-addons', ...readable];
    expect(await printed(program.replace(dist, `${folder}/dist/index.js`), flags)).toMatch(
      /Access to this API has been restricted.*`--allow-fs-read=<folder of node-moe>\/\*`/,
    );
  });

  test('because there is no memory for it', async () => {
    const limited = `import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
const { devices } = await import(${JSON.stringify(dist)});
const pages = Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[0]);
execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + (pages * 4096 + 1_500_000)]);
try { devices(); } catch (error) { (${tell})(error); }`;
    const text = await printed(limited);
    expect(text).toMatch(failure);
    expect(text).toMatch(/moe\.node: .*\. This process may not have the memory: .*ulimit -v/);
    expect(text).not.toMatch(/CMake/);
  });

  // esbuild leaves nothing of `import.meta` in CommonJS, rolldown puts the bundle's own place there.
  test.each([
    ['an ES module', 'esm', 'mjs', {}],
    ['CommonJS', 'cjs', 'cjs', {}],
    ['CommonJS without a place', 'cjs', 'cjs', { define: { 'import.meta.url': 'undefined' } }],
  ] as const)('because it was bundled into %s', async (_, format, ending, transform) => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'out'));
    await writeFile(join(folder, 'program.mjs'), program);
    await writeFile(join(folder, 'package.json'), '{ "name": "user" }');
    const bundle = await rolldown({
      input: join(folder, 'program.mjs'),
      platform: 'node',
      transform,
      checks: { ineffectiveDynamicImport: false },
    });
    const file = join(folder, 'out', `program.${ending}`);
    await bundle.write({ file, format, codeSplitting: false });
    const { stdout } = await run(process.execPath, [file]);
    expect(stdout).toMatch(failure);
    expect(stdout).toMatch(/it was bundled with other code\. Mark `node-moe` as external.*esbuild/);
    expect(stdout).not.toMatch(/CMake/);
  });

  test('because MOE_ADDON names what is not there', async () => {
    const text = await printed(program, [], { MOE_ADDON: '/nowhere/moe.node' });
    expect(text).toMatch(failure);
    expect(text).toMatch(/ENOENT.* Unset MOE_ADDON, .*; looked in \/nowhere\/moe\.node\.\n$/);
  });

  test('because MOE_ADDON names what is none of this package', async () => {
    const folder = await temporaryFolder();
    const [script, text] = [join(folder, 'script.js'), join(folder, 'text.node')];
    await writeFile(script, "console.log('ran')");
    await writeFile(text, '{}'.repeat(99));
    const other = createRequire(import.meta.resolve('rolldown')).resolve(
      '@rolldown/binding-linux-x64-gnu',
    );
    for (const [file, reason] of [
      [script, 'does not end in .node'],
      [join(root, 'package.json'), 'does not end in .node'],
      [text, 'invalid ELF header'],
      [other, 'is another addon'],
    ] as const) {
      const said = await printed(program, [], { MOE_ADDON: file });
      expect(said).toMatch(failure);
      expect(said).toContain(`${reason}. Unset MOE_ADDON`);
    }
  });

  test('for a reason that a build from source helps against', () => {
    const { message } = noAddon(new Error('No native build was found'), {
      forced: undefined,
      root: '/somewhere',
    });
    expect(message).toMatch(
      /: No native build was found\. Build it, with CMake .*: `node "\/somewhere\/scripts\/build-native\.cjs"`\./,
    );
    expect(message).toContain('; looked in /somewhere/build/Release and /somewhere/prebuilds.');
  });
});

test('threads that are not to be had are an error of the device, whichever they are', {
  timeout: 60_000,
}, async () => {
  const folder = await temporaryFolder();
  const preload = join(folder, 'few_threads.so');
  await run('cc', [
    '-shared',
    '-fPIC',
    '-o',
    preload,
    `${root}/test/fixtures/few_threads.c`,
    '-ldl',
  ]);
  const source = `import { MoECheckpoint } from ${JSON.stringify(dist)};
const checkpoint = await MoECheckpoint.open(${JSON.stringify(join(root, tinyMixtral))});
for (const threads of [0, 1]) {
  process.env.MOE_TEST_THREADS = String(threads);
  await checkpoint.load(0, { device: 'cpu', threads: 4 }).catch(${tell});
}
delete process.env.MOE_TEST_THREADS;
const layer = await checkpoint.load(0, { device: 'cpu' });
console.log(layer.hiddenSize > 0 ? 'loaded' : 'not loaded');
await layer.close();`;
  const lines = (await printed(source, [], { LD_PRELOAD: preload })).trim().split('\n');
  const names = ["the device's thread", ...(availableParallelism() > 1 ? ['thread 1 of'] : [])];
  for (const [index, name] of names.entries())
    expect(lines[index]).toMatch(
      new RegExp(`^DeviceError ERR_MOE_DEVICE Could not start ${name}.*: Resource .*ulimit -u`),
    );
  expect(lines.slice(names.length)).toEqual(['loaded']);
});
