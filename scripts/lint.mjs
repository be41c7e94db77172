// Formatter and linter of both languages. `--fix` formats.
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

const fix = process.argv.includes('--fix');
let failed = false;

function run(name, command, args) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (error?.code === 'ENOENT') console.error(`${name}: ${command} is missing: run \`make lint\``);
  else console.log(`${name}: ${status === 0 ? 'clean' : 'FAILED'}`);
  if (status !== 0) failed = true;
}

function sources(folder) {
  return readdirSync(folder, { recursive: true })
    .filter((file) => /\.(h|cc|cpp|cu|cuh)$/.test(file))
    .map((file) => `${folder}/${file}`);
}

run('biome', 'npx', ['--no-install', 'biome', 'check', ...(fix ? ['--write'] : []), '.']);
run('types', 'npx', ['--no-install', 'tsc', '--noEmit', '-p', '.']);
run('types of the tests', 'npx', ['--no-install', 'tsc', '--noEmit', '-p', 'test']);
run('types of the page', 'npx', ['--no-install', 'tsc', '-p', 'web']);
const format = fix ? ['-i'] : ['--dry-run', '-Werror'];
run('clang-format', 'clang-format', [
  ...format,
  ...sources('native'),
  ...sources('test/native'),
  ...sources('scripts'),
]);
run('cmake', 'cmake', ['--preset', 'lint']);
// What this machine builds: the CUDA device needs nvcc's headers.
const built = readFileSync('build/lint/compile_commands.json', 'utf8');
const tidy = sources('native').filter(
  (file) => file.endsWith('.cc') && built.includes(`/${file}"`),
);
const share = (part, parts) => tidy.filter((_, index) => index % parts === part);
const parts = availableParallelism();
const processes = Array.from({ length: parts }, (_, part) =>
  spawn('clang-tidy', ['--quiet', '-p', 'build/lint', ...share(part, parts)], { stdio: 'inherit' }),
);
const ended = await Promise.all(
  processes.map(
    (child) => new Promise((resolve) => child.on('error', resolve).on('exit', resolve)),
  ),
);
const clean = ended.every((code) => code === 0);
console.log(`clang-tidy: ${clean ? 'clean' : 'FAILED'}`);
if (!clean) failed = true;
process.exitCode = failed ? 1 : 0;
