// Builds with sanitizers and runs what touches memory (`address`: also undefined behaviour) or threads (`thread`).
import { execFileSync, spawnSync } from 'node:child_process';

const kind = process.argv[2];
if (kind !== 'address' && kind !== 'thread') throw new Error('usage: sanitize.mjs address|thread');
const folder = `build/sanitize-${kind}`;
const addon = `${process.cwd()}/${folder}/out`;
const runtime = execFileSync('g++', [`-print-file-name=lib${kind === 'address' ? 'a' : 't'}san.so`])
  .toString()
  .trim();

function run(command, args, env = {}) {
  console.log(`\n> ${command} ${args.join(' ')}`);
  const { status } = spawnSync(command, args, {
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  if (status !== 0) {
    console.log(`${kind}: FAILED`);
    process.exit(1);
  }
}

run('cmake', [
  ...['-S', '.', '-B', folder, '-G', 'Ninja', '-DCMAKE_BUILD_TYPE=RelWithDebInfo'],
  ...['-DMOE_TESTS=ON', `-DMOE_OUT=${addon}`],
  `-DMOE_SANITIZE=${kind === 'address' ? 'address,undefined' : 'thread'}`,
]);
run('cmake', ['--build', folder, '-j', '2']);
run('ctest', [
  '--test-dir',
  folder,
  '-j',
  '2',
  '--output-on-failure',
  ...(kind === 'thread' ? ['-R', 'cpu'] : []),
]);
run('npx', ['--no-install', 'tsc', '-p', '.']);
const preload = {
  MOE_ADDON: `${addon}/moe.node`,
  LD_PRELOAD: runtime,
  ASAN_OPTIONS: 'detect_leaks=0',
  UBSAN_OPTIONS: 'halt_on_error=1',
  // Node itself is not instrumented: only reports that name our code would mean something.
  TSAN_OPTIONS: `suppressions=${process.cwd()}/scripts/tsan.supp halt_on_error=1`,
};
if (kind === 'address')
  run(
    process.execPath,
    ['node_modules/vitest/vitest.mjs', 'run', 'test/layer.test.ts', 'test/numerics.test.ts'],
    preload,
  );
run(process.execPath, ['--expose-gc', 'scripts/stress.mjs', '--scale', '0.05'], preload);
console.log(`${kind}: clean`);
