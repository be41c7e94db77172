import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { root } from './fixtures/command_line.js';

interface Entry {
  license?: string;
  dev?: boolean;
  peer?: boolean;
  optional?: boolean;
  dependencies?: Record<string, string>;
}

/** Dependencies that may have dependencies: only the server loads them. */
const ofServer = ['fastify', 'prom-client'];

const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
  packages: Record<string, Entry>;
};
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
};
const entries = Object.entries(lock.packages).filter(([path]) => path !== '');

/** Packages, and what they need. */
function reached(names: readonly string[], found = new Set<string>()): Set<string> {
  for (const name of names) {
    if (found.has(name)) continue;
    found.add(name);
    reached(Object.keys(lock.packages[`node_modules/${name}`]?.dependencies ?? {}), found);
  }
  return found;
}

/** Anybody may ship what these allow, in any product, with the notice. */
const permissive = [
  'MIT',
  'ISC',
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'MIT OR Apache-2.0',
  '(BSD-2-Clause OR MIT OR Apache-2.0)',
  '(MIT OR CC0-1.0)',
];
/** Used to build and test, never shipped. */
const toolsOnly = [...permissive, 'Python-2.0', 'MPL-2.0', 'CC0-1.0', 'CC-BY-4.0'];

describe('licences of dependencies', () => {
  test('what users install is permissive, and is only what package.json names and the server needs', () => {
    const shipped = entries.filter(([, { dev, peer }]) => !dev && !peer);
    const names = new Set(shipped.map(([path]) => path.split('node_modules/').at(-1) as string));
    const expected = new Set([...Object.keys(manifest.dependencies), ...reached(ofServer)]);
    expect([...names].sort()).toEqual([...expected].sort());
    expect(shipped.filter(([, { license }]) => !permissive.includes(license ?? ''))).toEqual([]);
  });

  test('tools may be used', () => {
    const wrong = entries.filter(([, { license }]) => !toolsOnly.includes(license ?? ''));
    expect(wrong.map(([path, { license }]) => `${path}: ${license}`)).toEqual([]);
  });

  test('what is bundled comes with its licence', () => {
    const file = join(root, 'dist/cli/report/charts.licences.txt');
    expect(existsSync(file)).toBe(true);
    const text = readFileSync(file, 'utf8');
    for (const name of ['echarts', 'zrender', 'tslib'])
      expect(text).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+\\n\\n`, 'm'));
    expect(text).toContain('Apache License');
    expect(text).toContain('The Apache Software Foundation');
    expect(text).toContain('BSD 3-Clause License');
  });
});

test('versions of the packages of one release are one version', () => {
  const { version, peerDependencies } = JSON.parse(
    readFileSync(join(root, 'package.json'), 'utf8'),
  );
  expect(new Set(Object.values(peerDependencies))).toEqual(new Set([version]));
  const changes = readFileSync(join(root, 'CHANGELOG.md'), 'utf8');
  expect(changes).toMatch(new RegExp(`^## ${version.replaceAll('.', '\\.')}\\b`, 'm'));
});

test('npm run build does not start with a release: pre-scripts are off', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  expect(scripts.prebuild).toBeDefined();
  expect(readFileSync(join(root, '.npmrc'), 'utf8')).toMatch(/^ignore-scripts=true$/m);
});
