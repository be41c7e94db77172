// Makes everything a release consists of: prebuilt binaries of every platform, and the npm packages with them, in
// build/packages, with a report of their sizes. `npm run prebuild -- linux-x64` makes those of some platforms only;
// `--no-cuda` leaves out the CUDA plugin, which takes nvcc minutes.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expectPortable } from './prebuild/binary.mjs';
import { binariesOf, makePluginPackages, pack, removeInstallStep } from './prebuild/packages.mjs';
import { newestGlibc, platforms } from './prebuild/platforms.mjs';
import { sizeReport } from './prebuild/size_report.mjs';
import { copySources } from './prebuild/source_copy.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const work = join(root, 'build/prebuild');
const main = join(work, 'node-moe');
const out = join(root, 'build/packages');

/** The platforms that were asked for; all without a name. Exits where one is unknown or a tool is missing. */
function chosenPlatforms(names) {
  const unknown = names.filter((name) => !platforms.some((platform) => platform.name === name));
  if (unknown.length > 0)
    fail(
      `unknown platform ${unknown.join(', ')}; there are ${platforms.map(({ name }) => name).join(', ')}`,
    );
  const chosen = platforms.filter(({ name }) => names.length === 0 || names.includes(name));
  const missing = chosen
    .flatMap(({ needs }) => Object.entries(needs))
    .filter(([command]) => spawnSync('which', [command]).status !== 0)
    .map(([, debianPackage]) => debianPackage);
  if (missing.length > 0)
    fail(
      `these Debian packages are missing: ${[...new Set(missing)].join(' ')}; \`make packages\` installs them`,
    );
  return chosen;
}

function fail(message) {
  console.error(`prebuild: ${message}`);
  process.exit(1);
}

function run(command, args, env = {}) {
  console.log(`\n> ${command} ${args.join(' ')}`);
  execFileSync(command, args, {
    cwd: main,
    stdio: 'inherit',
    env: { ...process.env, PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}`, ...env },
  });
}

/** Where this Node's headers are, if it has them: node-gyp then downloads none. */
function nodeHeaders() {
  const home = resolve(dirname(process.execPath), '..');
  return existsSync(join(home, 'include/node/common.gypi')) ? { npm_config_nodedir: home } : {};
}

/** prebuildify puts the addon and the plugins of a platform into prebuilds/linux-<arch>. */
function prebuild({ name, arch, libc, toolchain, strip, cuda }) {
  const build = join(work, `cmake-${name}`);
  rmSync(join(build, 'CMakeCache.txt'), { force: true }); // toolchain files are read for a new cache only
  const options = ['--napi', '--strip', '--strip-bin', strip, '--tag-libc', '--libc', libc];
  run('prebuildify', [...options, '--platform', 'linux', '--arch', arch], {
    ...nodeHeaders(),
    MOE_CMAKE_BUILD: build,
    MOE_CMAKE_ARGS: [
      `-DCMAKE_TOOLCHAIN_FILE=${join(root, 'scripts/prebuild', toolchain)}`,
      `-DMOE_CUDA=${cuda && withCuda ? 'AUTO' : 'OFF'}`,
    ].join(' '),
  });
}

/** Plugins are for glibc, as the vendors' libraries are. The folder is shared with the platform that has glibc. */
function removePlugins({ arch }) {
  const folder = join(main, 'prebuilds', `linux-${arch}`);
  for (const file of readdirSync(folder)) if (file.endsWith('.so')) rmSync(join(folder, file));
}

const options = process.argv.slice(2);
const withCuda = !options.includes('--no-cuda');
const chosen = chosenPlatforms(options.filter((option) => option !== '--no-cuda'));
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
copySources(root, main);
run('npm', ['run', '--silent', 'build:ts']);

const folders = [main];
for (const platform of chosen) {
  prebuild(platform);
  if (platform.libc === 'musl') removePlugins(platform);
  folders.push(...makePluginPackages(main, platform, work));
}
removeInstallStep(main);
const packed = folders.map((folder) => {
  const account = pack(folder, out);
  return { account, binaries: binariesOf(folder, account) };
});
for (const { path, unwinds } of packed[0].binaries) {
  if (!unwinds) fail(`${path} has no table for unwinding: an exception would end the process`);
  if (!path.endsWith('.musl.node')) expectPortable(join(main, path), newestGlibc);
}

const report = sizeReport(packed);
writeFileSync(join(out, 'sizes.md'), `${report}\n`);
console.log(`\n${report}\n\nin ${out}`);
