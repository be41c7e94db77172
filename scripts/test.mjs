// Runs every suite and adds them up. The last line is `N passed, N failed` (and `, N skipped`); skips state their reason.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { countCtest, countVitest, Totals } from './test-reports.mjs';

const reports = 'build/reports';
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });
const totals = new Totals();

/** Runs a command to its end. True when it succeeded. */
function run(command, args, env = {}) {
  console.log(`\n> ${command} ${args.join(' ')}`);
  const { status, error } = spawnSync(command, args, {
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  if (error) console.log(String(error));
  return status === 0;
}

/** Configures a preset of the native tests, builds it in its folder, runs the tests, and counts them. */
function nativeTests(name, preset, folder) {
  const jobs = String(availableParallelism());
  const built = run('cmake', ['--preset', preset]) && run('cmake', ['--build', folder, '-j', jobs]);
  if (!built) return totals.fail(name, 'did not build');
  const report = `${process.cwd()}/${reports}/${name}.xml`;
  run(
    'ctest',
    [
      '--test-dir',
      folder,
      '-j',
      jobs,
      '--output-on-failure',
      '--timeout',
      '600',
      '--output-junit',
      report,
    ],
    {
      CTEST_OUTPUT_ON_FAILURE: '1',
    },
  );
  if (!existsSync(report)) return totals.fail(name, 'wrote no report');
  countCtest(totals, name, readFileSync(report, 'utf8'));
}

function has(command) {
  return spawnSync('which', [command]).status === 0;
}

nativeTests('native', 'dev', 'build/test');
if (process.arch !== 'x64')
  totals.skip('aarch64', 'this machine is not x86-64: the native tests ran on it as they are');
else if (!has('aarch64-linux-gnu-g++'))
  totals.skip('aarch64', 'no aarch64-linux-gnu-g++ (Debian: g++-aarch64-linux-gnu)');
else if (!has('qemu-aarch64')) totals.skip('aarch64', 'no qemu-aarch64 (Debian: qemu-user)');
else nativeTests('aarch64', 'aarch64', 'build/test-aarch64');

if (run('npx', ['--no-install', 'tsc', '--noEmit', '-p', 'test'])) totals.pass();
else totals.fail('types', 'the tests do not type-check');

const report = `${reports}/vitest.json`;
run('npx', [
  '--no-install',
  'vitest',
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
]);
if (existsSync(report)) countVitest(totals, 'vitest', JSON.parse(readFileSync(report, 'utf8')));
else totals.fail('vitest', 'wrote no report');

totals.print();
process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;
