import { styleText } from 'node:util';

export interface Column {
  title: string;
  align?: 'left' | 'right';
}

/** Columns of the terminal, or what `COLUMNS` says; 80 where nobody does. */
export function outputWidth(): number {
  const told = Number(process.env['COLUMNS']);
  return process.stdout.columns || (Number.isInteger(told) && told > 0 ? told : 80);
}

/** Lines of at most `width` characters, broken between words; a longer word keeps a line to itself. */
export function wrap(text: string, width: number = outputWidth()): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}

/** Help for a narrow terminal: where a line is too long, what stands in its second column goes under the first. */
export function narrowed(help: string, width: number = outputWidth()): string {
  const lines = help.split('\n').map((line) => {
    const [, indent = '', term = '', text] = /^( *)(\S.*?)(?: {2,}(\S.*))?$/.exec(line) ?? [];
    if (line.length <= width) return line;
    const under = `\n${indent}    `;
    const below = text === undefined ? '' : wrap(text, width - indent.length - 4);
    const lines = [...wrap(term, width - indent.length - 4).split('\n'), ...below.split('\n')];
    return indent + lines.filter((each) => each !== '').join(under);
  });
  return lines.join('\n');
}

/**
 * Rows under a line of titles, two spaces between columns. Cells are right-aligned unless the column says otherwise. Where
 * that is wider than `width`, each row is a block of titles and cells.
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number = outputWidth(),
): string {
  const widths = columns.map(({ title }, column) =>
    Math.max(title.length, ...rows.map((cells) => (cells[column] ?? '').length)),
  );
  const whole = widths.reduce((sum, one) => sum + one + 2, 0);
  if (whole > width)
    return rows
      .map((cells) =>
        facts(
          columns.map(({ title }, i) => [title, cells[i] ?? '']),
          width,
        ),
      )
      .join('\n\n');
  const line = (cells: readonly string[]) =>
    columns
      .map(({ align }, column) => pad(cells[column] ?? '', widths[column] ?? 0, align ?? 'right'))
      .join('  ')
      .trimEnd();
  const lines = [dim(line(columns.map(({ title }) => title))), ...rows.map(line)];
  return lines.map((text) => `  ${text}`.trimEnd()).join('\n');
}

/** Name and value pairs, names in one column. Long values go on under themselves, those of long words under their name. */
export function facts(
  pairs: readonly (readonly [name: string, value: string])[],
  width: number = outputWidth(),
): string {
  const names = Math.max(...pairs.map(([name]) => name.length));
  const lines = pairs.map(([name, value]) => {
    const longest = Math.max(...value.split(/\s/).map((word) => word.length));
    const beside = names + 4 + longest <= width;
    const column = beside ? names + 4 : 4;
    const text = wrap(value, width - column).replaceAll('\n', `\n${' '.repeat(column)}`);
    return `  ${dim(name.padEnd(names))}${beside ? '  ' : '\n    '}${text}`.trimEnd();
  });
  return lines.join('\n');
}

const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** A horizontal bar of at most `width` characters, drawn to an eighth of one. What is not 0 is seen. */
export function bar(fraction: number, width: number): string {
  const parts = Math.round(Math.min(Math.max(fraction, 0), 1) * width * 8);
  const shown = fraction > 0 ? Math.max(parts, 1) : 0;
  return '█'.repeat(Math.floor(shown / 8)) + (eighths[shown % 8] ?? '');
}

export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

export function milliseconds(value: number): string {
  return `${significant(value)} ms`;
}

export function percent(fraction: number): string {
  return `${(fraction * 100).toFixed(1)} %`;
}

/** Three significant digits without an exponent: `0.0123`, `1.23`, `123`, `12345`. */
export function significant(value: number): string {
  if (!Number.isFinite(value) || value === 0) return String(value);
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 9));
}

/** An error, to two digits: `1.2e-7`, `0` when there is none. */
export function errorText(value: number): string {
  return value === 0 ? '0' : value.toExponential(1);
}

/** `30.5 billion`. */
export function inWords(count: number): string {
  const words = [
    [1e9, 'billion'],
    [1e6, 'million'],
    [1e3, 'thousand'],
  ] as const;
  const [size, word] = words.find(([least]) => count >= least) ?? [1, ''];
  return `${significant(count / size)} ${word}`.trim();
}

/** `1 token`, `2 tokens`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** `[0, 1, 2, 3, 7]` as `0-3, 7`. */
export function ranges(numbers: readonly number[]): string {
  const runs: [first: number, last: number][] = [];
  for (const number of numbers) {
    const run = runs.at(-1);
    if (run !== undefined && number === run[1] + 1) run[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(', ');
}

export function bold(text: string): string {
  return styled('bold', text);
}

export function dim(text: string): string {
  return styled('dim', text);
}

/** Plain where stdout is not a terminal with colours; `hasColors` heeds NO_COLOR. */
function styled(style: 'bold' | 'dim', text: string): string {
  return process.stdout.isTTY && process.stdout.hasColors() ? styleText(style, text) : text;
}

function pad(text: string, width: number, align: 'left' | 'right'): string {
  return align === 'left' ? text.padEnd(width) : text.padStart(width);
}
