'use strict';
// Builds the addon from source: for `npm run build:native`, for a platform without a binary, for `npm install` in a clone and,
// through binding.gyp, for prebuildify. Plain CMake, nothing downloaded. It configures every time, so that what was missing the
// time before is looked for again. Arguments are the targets to build, all without any.
const { spawnSync } = require('node:child_process');
const os = require('node:os');
const path = require('node:path');

const root = path.resolve(__dirname, '..');
const out = process.env.MOE_CMAKE_BUILD ?? path.join(root, 'build', 'cmake');
const env = { ...process.env };
for (const name of ['MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'MAKEOVERRIDES']) delete env[name]; // gyp's own make

const runs = (command) => spawnSync(command, ['--version'], { stdio: 'ignore', env }).status === 0;
const compilers = env.CXX ? [env.CXX.split(' ')[0]] : ['c++', 'g++', 'clang++'];

/** What a build takes on one core of a machine of 2024. */
const coreMinutes = 3;

/** What a build needs and this machine lacks. */
function missing() {
  return [
    !runs('cmake') && 'cmake',
    !compilers.some(runs) && `a C++ compiler (${compilers.join(', ')})`,
    !runs(env.CMAKE_GENERATOR === 'Ninja' ? 'ninja' : 'make') && 'make',
  ].filter(Boolean);
}

function cmake(args) {
  const { status } = spawnSync('cmake', args, { stdio: 'inherit', cwd: root, env });
  if (status === 0) return;
  console.error('\nnode-moe: building from source failed; the first error above says why.');
  process.exit(status ?? 1);
}

const lacking = missing();
if (lacking.length > 0) {
  console.error(
    `\nnode-moe: its addon cannot be built from source here: ${lacking.join(' and ')} not found. Install CMake 3.22 or ` +
      'later, make and a C++20 compiler (Debian: apt-get install cmake make g++; Alpine: apk add cmake make g++), then run ' +
      `\`node "${__filename}"\`.\n`,
  );
  process.exit(1);
}
const extra = (env.MOE_CMAKE_ARGS ?? '').split(/\s+/).filter(Boolean);
const jobs = env.JOBS ?? env.npm_config_jobs ?? String(os.availableParallelism());
const minutes = Math.max(1, Math.ceil(coreMinutes / Number(jobs)));
console.log(
  `node-moe: building its addon from source with CMake, ${jobs} files at a time: about ${minutes} min`,
);
cmake(['-S', root, '-B', out, '-DCMAKE_BUILD_TYPE=Release', ...extra]);
const targets = process.argv.slice(2).flatMap((target) => ['--target', target]);
cmake(['--build', out, '--config', 'Release', '-j', jobs, ...targets]);
