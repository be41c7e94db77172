// Places of docs/weight-types.md that are written anew.
const row = (cells) => `| ${cells.join(' | ')} |`;

export const table = (titles, rows) =>
  [row(titles), row(titles.map(() => '---')), ...rows.map(row)].join('\n');

export const percent = (part) => (part < 1e-5 ? '< 0.001 %' : `${(part * 100).toPrecision(2)} %`);

/** What text costs more, with the standard error. */
export function more({ mean, error }) {
  if (Math.max(Math.abs(mean), error) < 5e-5) return '< 0.0001';
  return `${mean < 0 ? '−' : '+'}${Math.abs(mean).toFixed(4)} ± ${error.toFixed(4)}`;
}

/** The page with a table between `<!-- measured: name -->` and `<!-- end -->`. */
export function replaced(page, name, written) {
  const marked = new RegExp(`(<!-- measured: ${name} -->\n)[^]*?(\n<!-- end -->)`);
  if (!marked.test(page)) throw new Error(`docs/weight-types.md has no place for ${name}`);
  return page.replace(marked, (_, begin, end) => `${begin}\n${written}\n${end}`);
}
