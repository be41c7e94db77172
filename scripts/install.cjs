'use strict';
// npm's install step in a clone and of a Git dependency; the packages of a release have none. Where an addon loads there is nothing to do; elsewhere,
// and with `npm install --build-from-source`, it is built.
const { spawnSync } = require('node:child_process');
const path = require('node:path');

const root = path.resolve(__dirname, '..');

/** Whether an addon loads. Tried in a process of its own: a broken library may end the one that opens it. */
function loads() {
  const program = "require('node-gyp-build')(process.argv[1])";
  const options = { cwd: root, stdio: 'ignore' };
  return spawnSync(process.execPath, ['-e', program, root], options).status === 0;
}

const asked = process.env.npm_config_build_from_source;
const fromSource = asked === 'true' || (asked ?? '').split(',').includes('node-moe');
if (fromSource || !loads()) require('./build-native.cjs');
