// Bundles what runs in a browser with the libraries it uses, and their licences, into dist. Part of `npm run build:ts`.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const target = join(root, 'dist/cli/report');
const bundled = ['echarts', 'zrender', 'tslib'];
const require = createRequire(import.meta.url);

let rolldown;
try {
  ({ rolldown } = await import('rolldown'));
  require.resolve('echarts/core');
} catch {
  console.error('The bundler or the chart library is missing: run `npm install`.');
  process.exit(1);
}

const bundle = await rolldown({ input: join(root, 'web/report.ts'), platform: 'browser' });
await bundle.write({ file: join(target, 'charts.js'), format: 'iife', minify: true });
await bundle.close();

/** A package's folder. Its manifest may not be exported, so it is looked for above the entry point. */
function folderOf(name) {
  const echarts = createRequire(require.resolve('echarts/core'));
  let folder = dirname(name === 'echarts' ? require.resolve('echarts') : echarts.resolve(name));
  while (!folder.endsWith(`node_modules/${name}`)) folder = dirname(folder);
  return folder;
}

const licences = bundled.map((name) => {
  const folder = folderOf(name);
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const file = name === 'tslib' ? 'LICENSE.txt' : 'LICENSE';
  const notice = name === 'echarts' ? readFileSync(join(folder, 'NOTICE'), 'utf8') : '';
  return `${name} ${version}\n\n${readFileSync(join(folder, file), 'utf8')}\n${notice}`;
});
writeFileSync(join(target, 'charts.licences.txt'), licences.join(`\n${'-'.repeat(80)}\n\n`));
