import {
  describe,
  expectBoolean,
  expectInteger,
  expectNumber,
  expectObject,
  expectOneOf,
  unexpected,
} from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import { blockKeys, keyAliases, mayBeBlockKey } from '../families/keys.js';
import type { Key, Scalar, Size } from '../families/row.js';
import { maxInt32 } from './fields.js';

type Json = Readonly<Record<string, unknown>>;

interface Found {
  /** The key under which the config has it. */
  name: string;
  value: unknown;
}

/**
 * Reads a `config.json` key by key, each under any of its names, and notes which were read. Every error names the key. A
 * key that is absent or null takes its default; one without a default is needed.
 */
export class HuggingFaceKeys {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #layer: number | undefined;
  readonly #read = new Set<string>();
  /** Under which name the config has what an option was read from, by the option. */
  readonly names = new Map<string, string>();

  /**
   * @param merged a key whose value is an object with more keys
   * @param layer the layer's number, for lists with an element for each
   */
  constructor(config: unknown, merged?: string, layer?: number) {
    expectObject('config', config);
    const inner = merged === undefined ? {} : config[merged];
    expectObject(merged ?? 'config', inner);
    if (merged !== undefined) this.#read.add(merged);
    this.#values = { ...config, ...inner };
    this.#layer = layer;
  }

  /**
   * A number of things.
   *
   * @param option what it is for
   */
  count(size: Size, option?: string): number {
    if (typeof size === 'number') return size;
    if ('times' in size) return size.times.map((part) => this.count(part)).reduce((a, b) => a * b);
    if ('sum' in size) return size.sum.map((part) => this.count(part)).reduce((a, b) => a + b);
    if ('firstOf' in size) {
      const has = ({ key }: Key<string>) => (this.#find(key)?.value ?? null) !== null;
      return this.count(size.firstOf.find(has) ?? (size.firstOf.at(-1) as Key), option);
    }
    const { name, value } = this.#found(size, option);
    expectInteger(name, value, size.default === 0 || size.whenNull === 0 ? 0 : 1, maxInt32);
    return value;
  }

  /** The number of experts: one that is 0 or null says that there are none. */
  experts(size: Size): number {
    const [first] = typeof size === 'object' && 'sum' in size ? size.sum : [size];
    const found = typeof first === 'object' && 'key' in first ? this.#find(first.key) : undefined;
    if (found?.value === null || found?.value === 0)
      throw unexpected(found.name, 'at least 1: the model has no MoE layers', found.value);
    return this.count(size, 'expertNum');
  }

  /**
   * What a key says, in the words of the row.
   *
   * @param option what it is for
   */
  value(key: Key, option?: string): Scalar {
    const { name, value } = this.#found(key, option);
    if (value === 0 && key.whenZero !== undefined) return key.whenZero;
    if (value === key.whenNull) return value as Scalar;
    if (typeof key.default === 'number') expectNumber(name, value);
    if (typeof key.default === 'boolean') expectBoolean(name, value);
    if (key.are !== undefined) {
      expectOneOf(name, value, Object.keys(key.are));
      return key.are[value] as Scalar;
    }
    return (key.oneMinus ? 1 - (value as number) : value) as Scalar;
  }

  /** Takes a key for read. */
  ignore(key: string): void {
    this.#find(key);
  }

  /** Which of the cases a key's value is. */
  oneOf(key: Key, cases: readonly string[], reason?: string): string {
    const { name, value } = this.#found(key);
    if (typeof key.default === 'boolean') expectBoolean(name, value);
    if (cases.includes(String(value))) return String(value);
    const why = reason === undefined ? '' : `: ${reason}`;
    if (cases.length === 1) throw unexpected(name, `${cases[0]}${why}`, value);
    expectOneOf(name, value, cases);
    throw unexpected(name, cases.join(' or '), value);
  }

  /**
   * Throws `ConfigError` for a key that nothing has read and that changes what the block computes.
   *
   * @returns a sentence for each unknown key that sounds as if it did
   */
  expectUnderstood(modelType: string): string[] {
    for (const [key, neutral] of blockKeys) {
      if (this.#read.has(key)) continue;
      const { name, value } = this.#find(key) ?? { name: key, value: null };
      if (value === null || neutral.includes(value)) continue;
      const allowed = ['left out', ...neutral.map(String)].join(' or ');
      throw unexpected(name, `${allowed}: models of type ${modelType} do not have it`, value);
    }
    return Object.keys(this.#values)
      .filter((key) => !this.#read.has(key) && this.#values[key] !== null && mayBeBlockKey(key))
      .map((key) => `\`${key}\` of the model's config is not known, and has no effect`);
  }

  #found(key: Key<string>, option?: string): Found {
    const found = this.#valueOf(key);
    if (option !== undefined) this.names.set(option, found.name);
    return found;
  }

  #valueOf({ key, default: byDefault, whenNull, element, member }: Key<string>): Found {
    const found = this.#find(key);
    if (found?.value === null && whenNull !== undefined) return { ...found, value: whenNull };
    const name = found?.name ?? key;
    const value = found?.value ?? byDefault;
    if (value === undefined) {
      const others = namesOf(key).filter((other) => other !== key);
      const or = others.length === 0 ? '' : ` (or ${others.map(quoted).join(' or ')})`;
      throw new ConfigError(`Expected the key ${quoted(key)}${or} in the model's config, got none`);
    }
    if (Array.isArray(value) && element !== undefined) {
      const one = this.#elementOf(name, value, element);
      return { ...one, value: one.value === null && whenNull !== undefined ? whenNull : one.value };
    }
    if (member === undefined || typeof value !== 'object') return { name, value };
    return { name: `${name}.${member}`, value: (value as Json)[member] ?? byDefault };
  }

  #elementOf(name: string, list: readonly unknown[], element: 'layer' | number): Found {
    const index = element === 'layer' ? this.#layer : element;
    if (index !== undefined) return { name: `${name}[${index}]`, value: list[index] };
    const [first] = list;
    if (list.some((value) => value !== first))
      throw new ConfigError(`Expected \`layer\`: \`${name}\` has a value for each`);
    return { name: `${name}[0]`, value: first };
  }

  /** Undefined where the config has it under no name; null where it says null under all that it has. */
  #find(key: string): Found | undefined {
    const names = namesOf(key);
    for (const name of names) this.#read.add(name);
    const all = names
      .filter((name) => Object.hasOwn(this.#values, name) && this.#values[name] !== undefined)
      .map((name) => ({ name, value: this.#values[name] }));
    const [first, ...others] = all.filter(({ value }) => value !== null);
    const other = others.find(({ value }) => value !== first?.value);
    if (first !== undefined && other !== undefined)
      throw new ConfigError(
        `Expected \`${first.name}\` and \`${other.name}\` to be the same, as they are two names of one key, got ` +
          `${describe(first.value)} and ${describe(other.value)}`,
      );
    return first ?? all[0];
  }
}

/** All names of a key. */
const namesOf = (key: string) => keyAliases.find((group) => group.includes(key)) ?? [key];
const quoted = (name: string) => `\`${name}\``;
