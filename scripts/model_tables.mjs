// The table of memory in docs/models.md, by what the well-known models' configs say; `npm run docs:models` writes it.
import { readFileSync, writeFileSync } from 'node:fs';
import { table } from './families_table.mjs';

const begin = '<!-- memory: npm run docs:models -->';
const end = '<!-- /memory -->';

/** float16 takes what bfloat16 takes. */
const weightTypes = ['float32', 'bfloat16', 'int8', 'int4'];
const kvTypes = ['float32', 'bfloat16', 'int8'];
const cacheTokens = 1000;

/**
 * @param {string} page
 * @param {typeof import('../src/cli/bench/known_models.js').knownModels} knownModels
 * @param {typeof import('../src/model/foretell.js').foretell} foretell
 */
export async function withMemory(page, knownModels, foretell) {
  const [before, rest] = page.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`Expected ${begin} and ${end} in the page`);
  const rows = [];
  for (const [name, config] of Object.entries(knownModels)) {
    const { parameters, activeParameters, weightBytes, embeddingBytes, kvBytesPerToken } =
      await foretell(config);
    rows.push([
      name,
      `${billions(parameters)} (${billions(activeParameters)})`,
      ...weightTypes.map((type) => gib(weightBytes[type])),
      gib(embeddingBytes),
      ...kvTypes.map((type) => mib(cacheTokens * kvBytesPerToken[type])),
    ]);
  }
  const head = [
    ...['model', 'billion parameters (active)'],
    ...weightTypes.map((type) => (type === 'bfloat16' ? 'bfloat16, float16' : type)),
    ...['embedding', 'cache float32', 'bfloat16', 'int8'],
  ];
  return `${before}${begin}\n\n${table(head, rows)}\n\n${end}${after}`;
}

const digits = (value) =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
const billions = (count) => digits(count / 1e9);
const gib = (bytes) => `${digits(bytes / 2 ** 30)} GiB`;
const mib = (bytes) => `${digits(bytes / 2 ** 20)} MiB`;

if (process.argv[2] === 'write') {
  const path = new URL('../docs/models.md', import.meta.url);
  const { knownModels } = await import('../dist/cli/bench/known_models.js');
  const { foretell } = await import('../dist/model/foretell.js');
  writeFileSync(path, await withMemory(readFileSync(path, 'utf8'), knownModels, foretell));
}
