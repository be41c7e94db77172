// A build folder is older than what is installed later: a configuration must not keep what it once did not find.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { root } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';

let folder: string;

beforeEach(async () => {
  folder = await temporaryFolder();
});

/** `npm run build:native`, into a folder of its own and quickly. */
function build(targets: string[], options: string[], env: Record<string, string> = {}): string {
  const all = ['-DCMAKE_BUILD_TYPE=Debug', `-DMOE_OUT=${folder}/out`, ...options];
  const { stdout, stderr } = spawnSync('npm', ['run', 'build:native', '--', ...targets], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, ...env, MOE_CMAKE_BUILD: folder, MOE_CMAKE_ARGS: all.join(' ') },
  });
  return stdout + stderr;
}

const cached = (name: string) =>
  new RegExp(`^${name}:\\w+=(.*)$`, 'm').exec(
    readFileSync(join(folder, 'CMakeCache.txt'), 'utf8'),
  )?.[1];

const gloo = '/usr/include/gloo/transport/tcp/device.h';
test.skipIf(!existsSync(gloo))(
  `a build that was configured before gloo was there makes its plugin afterwards (skipped without ${gloo})`,
  { timeout: 600_000 },
  () => {
    const hiding = join(folder, 'hiding.cmake');
    writeFileSync(hiding, 'set(CMAKE_IGNORE_PATH /usr/include /usr/local/include)\n');
    const out = build(['help'], [], { CMAKE_TOOLCHAIN_FILE: hiding });
    expect(cached('MOE_GLOO_INCLUDE'), out).toBe('MOE_GLOO_INCLUDE-NOTFOUND');
    expect(out).not.toContain('moe_gloo');
    writeFileSync(hiding, '');
    // Its own sources: what it is linked with takes longer to compile, and is not what is asked.
    const second = build(['native/gloo/plugin.o', 'help'], []);
    expect(second).toContain('moe_gloo.dir/native/gloo/plugin.cc.o');
  },
);

test('a build that was configured before nvcc was there looks for it again', {
  timeout: 120_000,
}, () => {
  const nvcc = join(folder, 'nvcc');
  writeFileSync(nvcc, `#!/bin/sh\ntouch '${folder}/called'\nexit 1\n`);
  chmodSync(nvcc, 0o755);
  const options = ['-DMOE_CUDA=AUTO', '-DCMAKE_CUDA_COMPILER:FILEPATH=NOTFOUND'];
  const out = build(['help'], options, { CUDACXX: nvcc });
  expect(existsSync(join(folder, 'called')), out).toBe(true);
});

test.skipIf(process.arch !== 'x64')(
  'what g++ has to say of an ABI of long ago is not printed (skipped where vectors have 16 bytes)',
  { timeout: 600_000 },
  () => {
    const env = { CMAKE_GENERATOR: 'Unix Makefiles', CMAKE_CXX_COMPILER_LAUNCHER: '' };
    const out = build(['native/cpu/isa/avx512.o'], [], env);
    expect(out).toMatch(/Building CXX object .*avx512/);
    expect(out).not.toMatch(/note: .*ABI/);
  },
);

test.skipIf(process.arch !== 'x64')(
  'a build has the instruction sets that it is asked for, and the least one (skipped where there is one only)',
  { timeout: 120_000 },
  () => {
    const out = build(['help'], ['-DMOE_CPU_ISAS=avx2']);
    const list = readFileSync(join(folder, 'generated/cpu/isa_list.h'), 'utf8');
    expect(list.match(/X\(\w+\)/g), out).toEqual(['X(avx2)', 'X(baseline)']);
    expect(readFileSync(join(folder, 'compile_commands.json'), 'utf8')).not.toContain('avx512.cc');
    expect(build(['help'], ['-DMOE_CPU_ISAS=avx2;avx3']).replace(/\s+/g, ' ')).toContain(
      'Expected MOE_CPU_ISAS to list names of avx512vnni, avx512, avx2, baseline, got `avx3`',
    );
  },
);
