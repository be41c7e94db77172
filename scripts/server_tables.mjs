// The tables of docs/server.md, from the rows that the server reads; `npm run docs:server` writes them.
import { readFileSync, writeFileSync } from 'node:fs';
import { table } from './families_table.mjs';

/**
 * @param {string} page
 * @param {readonly import('../src/server/fields.js').Field[]} fields
 * @param {typeof import('../src/server/metrics.js').metricRows} metricRows
 */
export function withServerTables(page, fields, metricRows) {
  const of = (kind) => fields.filter(({ is }) => is === kind);
  const tables = {
    taken: table(
      ['field', 'of', 'value', ''],
      of('taken').map((row) => [...namesOf(row), valuesOf(row.kind), row.means]),
    ),
    refused: table(
      ['field', 'of', 'passes', ''],
      of('refused').map((row) => [...namesOf(row), row.harmless.map(code).join(', '), row.means]),
    ),
    ignored: table(
      ['field', 'of', ''],
      of('ignored').map((row) => [...namesOf(row), row.means]),
    ),
    metrics: table(
      ['metric', 'kind', ''],
      Object.entries(metricRows).map(([name, [kind, help]]) => [`\`${name}\``, kind, help]),
    ),
  };
  return Object.entries(tables).reduce((text, [name, rows]) => {
    const [begin, end] = [`<!-- ${name}: npm run docs:server -->`, `<!-- /${name} -->`];
    const [before, rest] = text.split(begin);
    const after = rest?.split(end)[1];
    if (after === undefined) throw new Error(`Expected ${begin} and ${end} in the page`);
    return `${before}${begin}\n\n${rows}\n\n${end}${after}`;
  }, page);
}

const code = (value) => `\`${JSON.stringify(value)}\``;
const namesOf = ({ name, of }) => [`\`${name}\``, of === 'both' ? '' : of];

/** What a value may be; fields of other kinds say it in their sentence. */
function valuesOf(kind) {
  if (kind.is === 'boolean') return 'true, false';
  if (kind.is === 'choice') return kind.of.map((one) => `\`${one}\``).join(', ');
  const { min, max, range = {} } = kind;
  if (kind.is === 'integer' && min === Number.MIN_SAFE_INTEGER) return 'integer';
  if (kind.is === 'integer') return max === undefined ? `${min} or more` : `${min} to ${max}`;
  const { above, atLeast, atMost } = range;
  const least = above === undefined ? atLeast : `above ${above}`;
  if (least === undefined) return '';
  if (atMost !== undefined) return `${least}${above === undefined ? '' : ','} to ${atMost}`;
  return above === undefined ? `${least} or more` : least;
}

if (process.argv[2] === 'write') {
  const page = new URL('../docs/server.md', import.meta.url);
  const { fields } = await import('../dist/server/fields.js');
  const { metricRows } = await import('../dist/server/metrics.js');
  writeFileSync(page, withServerTables(readFileSync(page, 'utf8'), fields, metricRows));
}
