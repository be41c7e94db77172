/** Where the table stands in docs/checkpoints.md. */
const begin = '<!-- families: npm run docs:families -->';
const end = '<!-- /families -->';

/**
 * The page with the table of all families, made from their rows.
 *
 * @param {string} page
 * @param {typeof import('../src/families/families.js')} families
 * @param {readonly string[]} wholeModels `model_type`s of which whole models are loaded
 */
export function withFamilies(page, { familyRows, mindformersRow, refusedRows }, wholeModels) {
  const [before, rest] = page.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`Expected ${begin} and ${end} in the page`);
  const rows = [...familyRows, mindformersRow].map((row) => [
    row.models,
    typesOf(row.modelTypes) || '`moe_config` in `config.json`, or given to `load`',
    row.stack === undefined ? '' : `\`${row.stack.name}\``,
    [...new Set(row.layouts.map(({ name }) => name))].join('; or '),
    row.around ?? '',
    row.evidence === 'a real file was seen' ? 'yes' : 'no',
  ]);
  const head = [
    'models',
    '`model_type`',
    '`stack`',
    'experts are stored as',
    'around the layer, the caller’s',
    'a real file was seen',
  ];
  const refused = refusedRows.map(
    ({ models, modelTypes, refused: reason }) => `${models} (${typesOf(modelTypes)}): ${reason}.`,
  );
  const parts = [
    ...[begin, '', table(head, rows), '', `Refused: ${refused.join(' ')}`, ''],
    ...[`Whole models, with all that is around their layers: ${typesOf(wholeModels)}.`, '', end],
  ];
  return before + parts.join('\n') + after;
}

const typesOf = (types) => types.map((type) => `\`${type}\``).join(', ');

/** A table in Markdown, with cells as wide as their column. */
export function table(head, rows) {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column].length)),
  );
  const line = (cells) => `| ${cells.map((cell, at) => cell.padEnd(widths[at])).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}
