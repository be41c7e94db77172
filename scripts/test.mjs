// Runs every suite and adds them up. The last line is `N passed, N failed` (and `, N skipped`); skips state their reason.
import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { countCtest, countVitest, Totals } from './test-reports.mjs';

const reports = 'build/reports';
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });
const totals = new Totals();

/**
 * Runs a command to its end. True when it succeeded. With a `log`, a file's number, it writes there and has only the time
 * that nothing else takes.
 */
function run(command, args, log) {
  const say = (text) => (log === undefined ? console.log(text) : writeSync(log, `${text}\n`));
  say(`\n> ${command} ${args.join(' ')}`);
  const [program, ...all] = [...(log === undefined ? [] : ['nice', '-n', '19']), command, ...args];
  return new Promise((resolve) => {
    const child = spawn(program, all, {
      stdio: log === undefined ? 'inherit' : ['ignore', log, log],
    });
    child.on('error', (error) => {
      say(String(error));
      resolve(false);
    });
    child.on('close', (status) => resolve(status === 0));
  });
}

/** Configures a preset of the native tests, builds it in its folder, runs the tests, and counts them. */
async function nativeTests(name, preset, folder, options, log) {
  const jobs = String(availableParallelism());
  const built =
    (await run('cmake', ['--preset', preset, ...options], log)) &&
    (await run('cmake', ['--build', folder, '-j', jobs], log));
  if (!built) return totals.fail(name, 'did not build');
  const report = `${process.cwd()}/${reports}/${name}.xml`;
  const limits = ['--timeout', '1500', '--test-output-size-passed', `${1 << 20}`];
  const output = ['--output-on-failure', '--output-junit', report];
  await run('ctest', ['--test-dir', folder, '-j', jobs, ...limits, ...output], log);
  if (!existsSync(report)) return totals.fail(name, 'wrote no report');
  countCtest(totals, name, readFileSync(report, 'utf8'));
}

function has(command) {
  return spawnSync('which', [command]).status === 0;
}

/** The native tests under emulation, beside everything else: tests in TypeScript often wait. Its output comes at the end. */
async function aarch64Tests() {
  if (process.arch !== 'x64')
    return totals.skip(
      'aarch64',
      'this machine is not x86-64: the native tests ran on it as they are',
    );
  if (!has('aarch64-linux-gnu-g++'))
    return totals.skip('aarch64', 'no aarch64-linux-gnu-g++ (Debian: g++-aarch64-linux-gnu)');
  if (!has('qemu-aarch64')) return totals.skip('aarch64', 'no qemu-aarch64 (Debian: qemu-user)');
  const file = `${reports}/aarch64.log`;
  const log = openSync(file, 'w');
  await nativeTests('aarch64', 'aarch64', 'build/test-aarch64', [], log);
  closeSync(log);
  process.stdout.write(readFileSync(file));
}

async function scriptTests() {
  if (await run('npx', ['--no-install', 'tsc', '--noEmit', '-p', 'test'])) totals.pass();
  else totals.fail('types', 'the tests do not type-check');

  const report = `${reports}/vitest.json`;
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  await run('npx', ['--no-install', 'vitest', 'run', ...reporters]);
  if (existsSync(report)) countVitest(totals, 'vitest', JSON.parse(readFileSync(report, 'utf8')));
  else totals.fail('vitest', 'wrote no report');
}

// With the addon, for the tests in TypeScript: its libraries are those that are tested here, and compile once.
await nativeTests('native', 'dev', 'build/test', ['-DMOE_ADDON=ON']);
await Promise.all([aarch64Tests(), scriptTests()]);

totals.print();
process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;
