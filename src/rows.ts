import {
  expectBoolean,
  expectInteger,
  expectKnownNames,
  expectNumber,
  expectObject,
  expectOneOf,
  type NumberRange,
  unexpected,
} from './checks.js';

/** What a value may be, as data: the API, the command line and the tests read the same. */
export type Kind =
  | { readonly is: 'boolean' }
  | { readonly is: 'integer'; readonly min: number; readonly max?: number }
  | { readonly is: 'number'; readonly range?: NumberRange }
  | { readonly is: 'choice'; readonly of: readonly (string | number)[] }
  | { readonly is: 'list'; readonly of: Kind }
  | { readonly is: 'other'; readonly check: (name: string, value: unknown) => void };

export const boolean: Kind = { is: 'boolean' };
export const integer = (min: number, max?: number): Kind => ({
  is: 'integer',
  min,
  ...(max !== undefined && { max }),
});
export const number = (range: NumberRange = {}): Kind => ({ is: 'number', range });
export const choice = (of: readonly (string | number)[]): Kind => ({ is: 'choice', of });
export const list = (of: Kind): Kind => ({ is: 'list', of });
export const other = (check: (name: string, value: unknown) => void): Kind => ({
  is: 'other',
  check,
});

/** Throws `ConfigError` unless the value is of the kind. */
export function expectKind(name: string, value: unknown, kind: Kind): void {
  if (kind.is === 'boolean') expectBoolean(name, value);
  else if (kind.is === 'integer') expectInteger(name, value, kind.min, kind.max);
  else if (kind.is === 'number') expectNumber(name, value, kind.range);
  else if (kind.is === 'choice') expectOneOf(name, value, kind.of);
  else if (kind.is === 'other') kind.check(name, value);
  else expectList(name, value, kind.of);
}

function expectList(name: string, value: unknown, of: Kind): void {
  if (!Array.isArray(value)) throw unexpected(name, 'a list or null', value);
  for (const [index, element] of value.entries()) expectKind(`${name}[${index}]`, element, of);
}

/** A function to call back. */
export const callback: Kind = other((name, value) => {
  if (typeof value !== 'function') throw unexpected(name, 'a function', value);
});

export const abortSignal: Kind = other((name, value) => {
  if (!(value instanceof AbortSignal)) throw unexpected(name, 'an AbortSignal', value);
});

/** Text that says something: not empty. */
export const textOf = (what: string): Kind =>
  other((name, value) => {
    if (typeof value !== 'string' || value === '') throw unexpected(name, what, value);
  });

/** How the command line says an option. */
export interface Flag {
  /** The word for its value in the help; none for an option that is given or not. */
  readonly value?: string;
  readonly help: string;
  /** What it is when it is not given, where the API's default must be named. */
  readonly default?: string;
}

/** One option of a function. */
export interface Row {
  readonly kind: Kind;
  readonly required?: true;
  readonly flag?: Flag;
  /** Ranks of a group may have it differently: it changes how a rank works, not what the layer is. */
  readonly ofRank?: true;
}

/** Every option of a function, required exactly where its type says so. */
export type Rows<Options> = {
  readonly [Name in keyof Options]-?: undefined extends Options[Name]
    ? Row & { readonly required?: never }
    : Row & { readonly required: true };
};

/** Throws `ConfigError` unless the options of `what` are an object of known options, each of its kind. */
export function expectOptions<Options>(
  what: string,
  options: unknown,
  rows: Rows<Options>,
): asserts options is Options {
  expectObject('options', options);
  // A small call takes as long as this: no array is made where all is well.
  for (const name in options)
    if (!Object.hasOwn(rows, name)) expectKnownNames(what, options, Object.keys(rows));
  for (const name in rows) {
    const row: Row = rows[name];
    const value = options[name];
    if (value !== undefined || row.required) expectKind(name, value, row.kind);
  }
}

/** The options that the rows are of and that are given. */
export function given<Options>(rows: Rows<Options>, options: Options): Given<Options> {
  const names = Object.keys(rows) as (keyof Options & string)[];
  return Object.fromEntries(
    names.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]),
  ) as Given<Options>;
}

type Given<Options> = { [Name in keyof Options]?: Exclude<Options[Name], undefined> };
