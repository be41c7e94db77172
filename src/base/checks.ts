import { isTypedArray } from 'node:util/types';
import { ConfigError } from './errors.js';

/** A value as error messages show it: its text and its type, never more than a line. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return `\`${value}\``;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name}`;
  if (typeof value === 'object' || typeof value === 'function') return `(${typeof value})`;
  if (typeof value !== 'string') return `\`${String(value)}\` (${typeof value})`;
  const shown = value.length > 60 ? `${value.slice(0, 60)}…` : value;
  return `\`${JSON.stringify(shown).slice(1, -1)}\` (string)`;
}

/** The error for a field that is not what it should be: Expected `name` to be `expectation`, got `value` (type). */
export function unexpected(name: string, expectation: string, value: unknown): ConfigError {
  return new ConfigError(`Expected \`${name}\` to be ${expectation}, got ${describe(value)}`);
}

/** Throws `ConfigError` unless `value` is an integer from `min` to `max`, both included. */
export function expectInteger(
  name: string,
  value: unknown,
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
): asserts value is number {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return;
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  throw unexpected(name, `an integer ${range}`, value);
}

/** Throws `ConfigError` unless `divisor`, which is that of the field `of`, divides the value. */
export function expectMultiple(name: string, value: number, of: string, divisor: number): void {
  if (value % divisor !== 0)
    throw new ConfigError(
      `Expected \`${name}\` to be a multiple of \`${of}\` ${divisor}, got ${value}`,
    );
}

/** Bounds of a number: `above` and `below` are excluded, `atLeast` is included. */
export interface NumberRange {
  above?: number;
  atLeast?: number;
  below?: number;
  atMost?: number;
}

/** Throws `ConfigError` unless `value` is a finite number in the range. */
export function expectNumber(
  name: string,
  value: unknown,
  range: NumberRange = {},
): asserts value is number {
  const { above = -Infinity, atLeast = -Infinity, below = Infinity, atMost = Infinity } = range;
  const fits = (number: number) =>
    number > above && number >= atLeast && number < below && number <= atMost;
  if (Number.isFinite(value) && fits(value as number)) return;
  const bounds = [
    ...(range.above === undefined ? [] : [`above ${range.above}`]),
    ...(range.atLeast === undefined ? [] : [`of at least ${range.atLeast}`]),
    ...(range.below === undefined ? [] : [`below ${range.below}`]),
    ...(range.atMost === undefined ? [] : [`of at most ${range.atMost}`]),
  ];
  throw unexpected(name, ['a finite number', bounds.join(' and ')].join(' ').trimEnd(), value);
}

/** Throws `ConfigError` unless `value` is `true` or `false`. */
export function expectBoolean(name: string, value: unknown): asserts value is boolean {
  if (typeof value !== 'boolean') throw unexpected(name, 'true or false', value);
}

/** Throws `ConfigError` unless `value` is one of the names. */
export function expectOneOf<Choice extends string | number>(
  name: string,
  value: unknown,
  choices: readonly Choice[],
): asserts value is Choice {
  if (choices.includes(value as Choice)) return;
  const words = choices.filter((choice) => typeof choice === 'string');
  const near = typeof value === 'string' ? nearestName(value, words) : undefined;
  const hint = near === undefined ? '' : `: did you mean '${near}'?`;
  const { message } = unexpected(
    name,
    choices.map((choice) => (typeof choice === 'string' ? `'${choice}'` : choice)).join(' or '),
    value,
  );
  throw new ConfigError(message + hint);
}

/** Throws `ConfigError` unless `value` is an object that is neither null nor an array. */
export function expectObject(
  name: string,
  value: unknown,
): asserts value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw unexpected(name, 'an object', value);
}

const TypedArray = Object.getPrototypeOf(Uint8Array) as new () => ArrayLike<number>;

/** Throws `ConfigError` unless `value` has a length and elements: an array, a typed array or the like. */
export function expectArrayLike(
  name: string,
  value: unknown,
  expectation: string,
): asserts value is ArrayLike<unknown> {
  // A Proxy of a typed array has no length, and no memory.
  const isHollow = value instanceof TypedArray && !isTypedArray(value);
  const isObject = typeof value === 'object' && value !== null && !isHollow;
  const length = isObject ? (value as Partial<ArrayLike<unknown>>).length : undefined;
  if (!Number.isSafeInteger(length) || (length as number) < 0)
    throw unexpected(name, expectation, value);
}

/** Throws `ConfigError` for a key that `known` lacks, and names the known key nearest to it. */
export function expectKnownNames(what: string, given: object, known: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue;
    const near = nearestName(name, known);
    const hint = near === undefined ? `known are ${known.join(', ')}` : `did you mean \`${near}\`?`;
    throw new ConfigError(`Expected an option of ${what}, got ${describe(name)}: ${hint}`);
  }
}

/** What only this package has: the key of constructors that are no way to make an object. */
export const inside = Symbol('inside');

/** Throws `ConfigError` for a constructor that is called from outside. */
export function expectInside(key: unknown, what: string, ...makers: readonly string[]): void {
  if (key !== inside)
    throw new ConfigError(
      `Expected ${what} to be made by \`${makers.join('` or `')}\`, got \`new\``,
    );
}

/** The known name that the fewest edits turn `name` into; undefined where none is near enough to be meant. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  if (name.length > 100) return undefined;
  const folded = name.toLowerCase();
  let nearest: string | undefined;
  let fewest = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const edits = editDistance(folded, candidate.toLowerCase());
    if (edits < fewest) [nearest, fewest] = [candidate, edits];
  }
  return nearest;
}

/** Letters to insert, delete, replace or swap with their neighbour until one word is the other. */
function editDistance(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; ++i) {
    const row = [i];
    for (let j = 1; j <= to.length; ++j) {
      const replaced = (last[j - 1] as number) + (from[i - 1] === to[j - 1] ? 0 : 1);
      const swapped =
        from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]
          ? (beforeLast[j - 2] as number) + 1
          : Infinity;
      row.push(Math.min((last[j] as number) + 1, (row[j - 1] as number) + 1, replaced, swapped));
    }
    [beforeLast, last] = [last, row];
  }
  return last[to.length] as number;
}
