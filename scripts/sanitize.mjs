// Builds with sanitizers and runs what touches memory (`address`: also undefined behaviour) or threads (`thread`).
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';

const kind = process.argv[2];
if (kind !== 'address' && kind !== 'thread') throw new Error('usage: sanitize.mjs address|thread');
const folder = `build/sanitize-${kind}`;
const addon = `${process.cwd()}/${folder}/out`;
const reports = `${process.cwd()}/${folder}/reports`;
const runtime = execFileSync('g++', [`-print-file-name=lib${kind === 'address' ? 'a' : 't'}san.so`])
  .toString()
  .trim();

function fail() {
  console.log(`${kind}: FAILED`);
  process.exit(1);
}

function succeeds(command, args, env = {}) {
  console.log(`\n> ${command} ${args.join(' ')}`);
  const { status } = spawnSync(command, args, {
    stdio: 'inherit',
    env: { ...process.env, ...env },
    timeout: 20 * 60_000, // a race may also end in waiting for ever
    killSignal: 'SIGKILL',
  });
  return status === 0;
}

function run(command, args, env) {
  if (!succeeds(command, args, env)) fail();
}

/** Node is not instrumented, so what is said of its own threads means nothing: only reports that name the addon count. */
function expectNoReport() {
  const ours = readdirSync(reports)
    .flatMap((file) => readFileSync(`${reports}/${file}`, 'utf8').split('=================='))
    .filter((report) => report.includes('moe.node'));
  for (const report of ours) console.log(report);
  if (ours.length > 0) fail();
}

run('cmake', ['--preset', kind]);
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

const preload = { MOE_ADDON: `${addon}/moe.node`, LD_PRELOAD: runtime };
const stress = ['--expose-gc', 'scripts/stress.mjs', '--scale', '0.05'];
if (kind === 'address') {
  const options = { ASAN_OPTIONS: 'detect_leaks=0', UBSAN_OPTIONS: 'halt_on_error=1' };
  run(
    process.execPath,
    [
      'node_modules/vitest/vitest.mjs',
      'run',
      'test/layer/layer.test.ts',
      'test/checkpoint/numerics.test.ts',
    ],
    { ...preload, ...options },
  );
  // Freed memory is held back for a while, here little of it: resident memory is to stay flat.
  const flat = `${options.ASAN_OPTIONS}:quarantine_size_mb=4`;
  run(process.execPath, stress, { ...preload, ...options, ASAN_OPTIONS: flat });
} else {
  rmSync(reports, { recursive: true, force: true });
  mkdirSync(reports);
  // The sanitizer's shadow grows with every address used, so memory says nothing here.
  const ended = succeeds(process.execPath, [...stress, '--max-growth', 'Infinity'], {
    ...preload,
    TSAN_OPTIONS: `halt_on_error=0 exitcode=0 log_path=${reports}/thread`,
  });
  expectNoReport(); // first: a race that ends the process is best told by its report
  if (!ended) fail();
}
console.log(`${kind}: clean`);
