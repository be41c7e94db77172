'use strict';
// The native build behind binding.gyp (npm install, prebuildify): plain CMake, nothing downloaded.
const { spawnSync } = require('node:child_process');
const os = require('node:os');
const path = require('node:path');

const root = path.resolve(__dirname, '..');
const out = path.join(root, 'build', 'cmake');
const env = { ...process.env };
for (const name of ['MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'MAKEOVERRIDES']) delete env[name]; // gyp's own make

function cmake(args) {
  const { error, status } = spawnSync('cmake', args, { stdio: 'inherit', cwd: root, env });
  if (error) {
    console.error(
      error.code === 'ENOENT'
        ? '\nnode-moe: no prebuilt binary fits this platform, and cmake was not found. Install CMake 3.22 or later and a C++20 compiler.\n'
        : String(error),
    );
    process.exit(1);
  }
  if (status !== 0) process.exit(status ?? 1);
}

const extra = (env.MOE_CMAKE_ARGS ?? '').split(/\s+/).filter(Boolean);
const jobs = env.JOBS ?? env.npm_config_jobs ?? String(os.availableParallelism());
cmake(['-S', root, '-B', out, '-DCMAKE_BUILD_TYPE=Release', ...extra]);
cmake(['--build', out, '--config', 'Release', '-j', jobs]);
