// Measures this machine and writes docs/performance.md with its charts: make performance [ARGS="--seconds 0.2 --no-peers"]
// The measurements stand in docs/performance/results.json; --draw writes page and charts from them again, --models measures
// whole models anew and keeps the others.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { charts } from './performance/charts.mjs';
import { measure, measureModels } from './performance/measure.mjs';
import { page } from './performance/page.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '0.5' },
    peers: { type: 'boolean', default: true },
    draw: { type: 'boolean', default: false },
    models: { type: 'boolean', default: false },
  },
  allowNegative: true,
});

const folder = new URL('../docs/performance/', import.meta.url);
const resultsFile = new URL('results.json', folder);

mkdirSync(folder, { recursive: true });
const settings = { seconds: Number(values.seconds), peers: values.peers };
const write = (measured) => writeFileSync(resultsFile, `${JSON.stringify(measured)}\n`);
const written = () => JSON.parse(readFileSync(resultsFile, 'utf8'));
if (values.models) {
  const { models: before, ...others } = written();
  write({ ...others, models: (await measureModels(settings)) ?? before });
}
if (!values.models && !values.draw) write(await measure(settings));
const results = written();
for (const [name, svg] of charts(results)) writeFileSync(new URL(`${name}.svg`, folder), svg);
writeFileSync(new URL('../docs/performance.md', import.meta.url), page(results));
console.log('wrote docs/performance.md');
