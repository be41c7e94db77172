// Measures what each type of weights costs in exactness, and puts the tables into docs/weight-types.md: all of them, or those that
// are named. `published` installs the peers of bench/peers where they are missing, for ggml's quantisers.
import { readFileSync, writeFileSync } from 'node:fs';
import { offsetsTable } from './weight-types/offsets.mjs';
import { layersTable, textTable } from './weight-types/own_types.mjs';
import { replaced } from './weight-types/page.mjs';
import { publishedTable } from './weight-types/published_types.mjs';

const tables = {
  layers: layersTable,
  text: textTable,
  offsets: offsetsTable,
  published: publishedTable,
};
const [, , ...named] = process.argv;
const path = new URL('../docs/weight-types.md', import.meta.url);

for (const name of named.length === 0 ? Object.keys(tables) : named) {
  if (!(name in tables))
    throw new Error(`Expected a table of ${Object.keys(tables).join(', ')}, got ${name}`);
  const written = await tables[name]();
  writeFileSync(path, replaced(readFileSync(path, 'utf8'), name, written));
  console.log(`wrote ${name} of docs/weight-types.md`);
}
