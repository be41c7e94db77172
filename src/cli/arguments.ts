import { InvalidArgumentError } from 'commander';

/** Parses an integer from `min` to `max`, for `Option.argParser`. */
export function integer(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
    throw new InvalidArgumentError(`Expected an integer ${range}, got \`${text}\`.`);
  };
}

/** Parses integers separated by commas; a number that is given twice counts once. */
export function integers(min: number): (text: string) => number[] {
  return (text) => [...new Set(list(text).map(integer(min)))];
}

/** Parses a number above 0. */
export function positive(text: string): number {
  return number(text, 'above 0', (value) => value > 0);
}

/** Parses a number of at least 0. */
export function notNegative(text: string): number {
  return number(text, 'of at least 0', (value) => value >= 0);
}

function number(text: string, range: string, fits: (value: number) => boolean): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && fits(value)) return value;
  throw new InvalidArgumentError(`Expected a number ${range}, got \`${text}\`.`);
}

/** Parses one or several of `choices`, separated by commas; a name that is given twice counts once. */
export function oneOf<T extends string>(choices: readonly T[]): (text: string) => T[] {
  return (text) => {
    const names = list(text).map((name) => {
      const choice = choices.find((known) => known === name);
      if (choice === undefined)
        throw new InvalidArgumentError(`Expected one of ${choices.join(', ')}, got \`${name}\`.`);
      return choice;
    });
    return [...new Set(names)];
  };
}

/** Parses `begin:end`, either of them left out meaning the first and the last. */
export function range(text: string): { begin: number; end: number | undefined } {
  const [, begin, end] = /^(\d*):(\d*)$/.exec(text) ?? [];
  if (begin === undefined || end === undefined || (end !== '' && Number(begin) > Number(end)))
    throw new InvalidArgumentError(`Expected two positions in order as in 0:96, got \`${text}\`.`);
  return { begin: Number(begin), end: end === '' ? undefined : Number(end) };
}

/** Parses numbers of layers, separated by commas, or `all`. */
export function layerNumbers(text: string): number[] | 'all' {
  return text === 'all' ? text : integers(0)(text);
}

function list(text: string): string[] {
  return text.split(',').map((part) => part.trim());
}
