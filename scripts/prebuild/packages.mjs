// The npm packages of a release: the main one, and one for each plugin that was built.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { expectPortable, inspectBinary } from './binary.mjs';
import { newestGlibc, pluginPackages } from './platforms.mjs';

/** Packs a folder. Returns npm's account of it, with the tarball's path. */
export function pack(folder, destination) {
  const output = execFileSync(
    'npm',
    ['pack', '--json', '--ignore-scripts', '--pack-destination', destination],
    { cwd: folder, encoding: 'utf8', maxBuffer: 2 ** 26 },
  );
  const parsed = JSON.parse(output);
  const account = Array.isArray(parsed) ? parsed[0] : Object.values(parsed)[0];
  return { ...account, path: join(destination, basename(account.filename)) };
}

/**
 * Takes the install step out of the main package: a clone builds with it, a package has its binaries inside, and package
 * managers warn of scripts and block them.
 */
export function removeInstallStep(main) {
  const path = join(main, 'package.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8'));
  delete manifest.scripts.install;
  manifest.files = manifest.files.filter((file) => file !== 'scripts/install.cjs');
  writeFileSync(path, `${JSON.stringify(manifest, null, 2)}\n`);
}

/** Takes the plugins with packages of their own out of the prebuilt binaries of a platform, and makes those packages. */
export function makePluginPackages(main, platform, folder) {
  const { version, license } = JSON.parse(readFileSync(join(main, 'package.json'), 'utf8'));
  const made = [];
  for (const { plugin, platforms, needs, foreign, description } of pluginPackages) {
    const library = `libmoe_${plugin}.so`;
    const built = join(main, 'prebuilds', `linux-${platform.arch}`, library);
    if (!existsSync(built)) continue;
    if (!platforms.includes(platform.name)) {
      rmSync(built);
      continue;
    }
    expectPortable(built, newestGlibc, foreign);
    const name = `node-moe-${plugin}-${platform.name}`;
    const target = join(folder, name);
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target, { recursive: true });
    renameSync(built, join(target, library));
    cpSync(join(main, 'LICENSE'), join(target, 'LICENSE'));
    writeFileSync(join(target, 'README.md'), readme({ name, description, version, needs }));
    const manifest = {
      name,
      version,
      description,
      license,
      os: ['linux'],
      cpu: [platform.arch],
      libc: [platform.libc],
      files: [library],
      peerDependencies: { 'node-moe': version },
    };
    writeFileSync(join(target, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    made.push(target);
  }
  return made;
}

const readme = ({ name, description, version, needs }) => `# ${name}

${description}. It needs ${needs}.

    npm install node-moe@${version} ${name}@${version}

node-moe finds it by itself: \`npx node-moe devices\` says so. Both must be of one version: node-moe refuses any other, and
says which it found.
`;

/** Binaries of a packed folder, with their sizes and what they need. */
export function binariesOf(folder, account) {
  return account.files
    .filter(({ path }) => /\.(node|so)$/.test(path))
    .map(({ path }) => ({
      path,
      bytes: statSync(join(folder, path)).size,
      ...inspectBinary(join(folder, path)),
    }));
}
