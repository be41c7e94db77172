// Runs tests by name, native or TypeScript, after building only what they need: npm run t -- NAME
// NAME is a part of a test's name (`ThreadPool`, `Plan.Sorts`, 'bench gives checked') or of its file (`thread_pool_test`).
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

const build = 'build/test';

/** Files of a folder whose names end so, with what is in them. */
function filesOf(folder, ending) {
  return readdirSync(folder, { recursive: true })
    .filter((file) => file.endsWith(ending))
    .map((file) => ({
      file: `${folder}/${file}`,
      text: readFileSync(`${folder}/${file}`, 'utf8'),
    }));
}

/** Native tests whose name, or whose file's, contains `name`: a filter for GoogleTest, per file. */
export function nativeTests(name, files = filesOf('test/native', '_test.cc')) {
  return files.flatMap(({ file, text }) => {
    const declared = [...text.matchAll(/^(TYPED_TEST|TEST)(_F|_P)?\((\w+),\s*(\w+)\)/gm)];
    const names = declared.map(([, , , suite, test]) => `${suite}.${test}`);
    const chosen = file.includes(name) ? names : names.filter((test) => test.includes(name));
    // Around it, what parameters and types add to a name.
    const filter = chosen.map((test) => `*${test.replace('.', '*.')}*`).join(':');
    return chosen.length === 0 ? [] : [{ file, filter }];
  });
}

/** TypeScript tests whose name, or whose file's, contains `name`. A whole file has no pattern. */
export function scriptTests(name, files = filesOf('test', '.test.ts')) {
  return files
    .filter(({ file, text }) => file.includes(name) || text.includes(name))
    .map(({ file, text }) => ({
      file,
      pattern: file.includes(name) ? undefined : name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'),
      needsProgram: /command_line|\/dist\/|bench\/compare/.test(text),
    }));
}

function run(command, args) {
  console.log(`> ${command} ${args.join(' ')}`);
  const { status } = spawnSync(command, args, { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

/** The program that a file is compiled into, by what the build says of itself. */
function targetOf(file) {
  const commands = JSON.parse(readFileSync(`${build}/compile_commands.json`, 'utf8'));
  const entry = commands.find((one) => one.file.endsWith(`/${file}`));
  const [, folder, target] = / -o (\S+?)CMakeFiles\/([^/]+)\.dir\//.exec(entry?.command) ?? [];
  return target === undefined ? undefined : { target, program: `${build}/${folder}${target}` };
}

function runNative(tests) {
  const jobs = String(availableParallelism());
  if (!existsSync(`${build}/build.ninja`)) run('cmake', ['--preset', 'dev']);
  for (const { file, filter } of tests) {
    const { target, program } = targetOf(file) ?? {};
    if (target === undefined) {
      console.log(`${file} is in no program of this build: see the options of CMakeLists.txt`);
      process.exit(1);
    }
    run('cmake', ['--build', build, '-j', jobs, '--target', target]);
    run(program, [`--gtest_filter=${filter}`]);
  }
}

function runScripts(tests) {
  if (!process.env.MOE_ADDON) run('node', ['scripts/build-native.cjs', 'moe']);
  if (tests.some(({ needsProgram }) => needsProgram)) run('npm', ['run', '--silent', 'build:ts']);
  const whole = tests.filter(({ pattern }) => pattern === undefined);
  const parts = tests.filter(({ pattern }) => pattern !== undefined);
  const vitest = (files, more = []) =>
    run('npx', ['--no-install', 'vitest', 'run', ...files.map(({ file }) => file), ...more]);
  if (whole.length > 0) vitest(whole);
  if (parts.length > 0) vitest(parts, ['-t', parts[0].pattern]);
}

function main(name) {
  if (!name) {
    console.log('usage: npm run t -- NAME');
    process.exit(2);
  }
  const native = nativeTests(name);
  const scripts = native.length > 0 ? [] : scriptTests(name);
  if (native.length > 0) runNative(native);
  else if (scripts.length > 0) runScripts(scripts);
  else {
    console.log(`Expected a part of a test's name or of its file's, got \`${name}\``);
    process.exit(1);
  }
}

if (import.meta.filename === process.argv[1]) main(process.argv[2]);
