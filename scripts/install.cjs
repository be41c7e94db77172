'use strict';
// npm's install step: node-gyp-build takes a prebuilt binary or builds from source. The headers of the running node are
// used where it ships them, so that node-gyp does not download any.
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const env = { ...process.env };
const home = path.resolve(process.execPath, '..', '..');
if (!env.npm_config_nodedir && fs.existsSync(path.join(home, 'include/node/common.gypi'))) {
  env.npm_config_nodedir = home;
}
const tool = require.resolve('node-gyp-build/bin.js');
const { status } = spawnSync(process.execPath, [tool], { stdio: 'inherit', env });
process.exit(status ?? 1);
