import { styleText } from 'node:util';

export interface Column {
  title: string;
  align?: 'left' | 'right';
}

/** Rows under a line of titles, two spaces between columns. Cells are right-aligned unless the column says otherwise. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map(({ title }, column) =>
    Math.max(title.length, ...rows.map((cells) => (cells[column] ?? '').length)),
  );
  const line = (cells: readonly string[]) =>
    columns
      .map(({ align }, column) => pad(cells[column] ?? '', widths[column] ?? 0, align ?? 'right'))
      .join('  ')
      .trimEnd();
  const lines = [dim(line(columns.map(({ title }) => title))), ...rows.map(line)];
  return lines.map((text) => `  ${text}`.trimEnd()).join('\n');
}

/** Name and value pairs, names in one column. */
export function facts(pairs: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `  ${dim(name.padEnd(width))}  ${value}`).join('\n');
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
