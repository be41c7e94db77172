// TypeScript's CommonJS users need declarations of their own: it takes a .d.ts for CommonJS or ESM by the package.json
// nearest to it. What Node loads is the same in both cases, since it can require() ES modules.
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = fileURLToPath(new URL('../dist', import.meta.url));
const target = join(dist, 'commonjs');

/** A declaration file and all that it imports. */
function reached(file, found = new Set()) {
  if (found.has(file)) return found;
  found.add(file);
  const text = readFileSync(join(dist, file), 'utf8');
  for (const [, path] of text.matchAll(/(?:from|import)\s*\(?["'](\.[^"']+)\.js["']/g))
    reached(normalize(join(dirname(file), `${path}.d.ts`)), found);
  return found;
}

rmSync(target, { recursive: true, force: true });
const { exports } = JSON.parse(readFileSync(join(dist, '../package.json'), 'utf8'));
const entries = Object.values(exports).flatMap(({ import: { types } = {} }) => types ?? []);
const files = new Set(entries.flatMap((types) => [...reached(types.replace('./dist/', ''))]));
for (const file of files) {
  mkdirSync(dirname(join(target, file)), { recursive: true });
  cpSync(join(dist, file), join(target, file));
}
writeFileSync(join(target, 'package.json'), '{ "type": "commonjs" }\n');
