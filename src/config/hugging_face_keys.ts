import {
  expectBoolean,
  expectInteger,
  expectNumber,
  expectObject,
  expectOneOf,
  unexpected,
} from '../checks.js';
import { ConfigError } from '../errors.js';
import { maxInt32 } from './fields.js';

/**
 * Reads a `config.json` key by key. Every error names the key. A key that is absent or null takes its default, which is
 * that of the model's class in Transformers; one without a default is needed.
 */
export class HuggingFaceKeys {
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(config: unknown) {
    expectObject('config', config);
    this.#values = config;
  }

  count(key: string, byDefault?: number, min = 1, max = maxInt32): number {
    const value = this.#value(key, byDefault);
    expectInteger(key, value, min, max);
    return value;
  }

  /** Null says 0 here. */
  countOrNone(key: string, byDefault: number): number {
    return this.#given(key) === null ? 0 : this.count(key, byDefault, 0);
  }

  number(key: string, byDefault: number): number {
    const value = this.#value(key, byDefault);
    expectNumber(key, value);
    return value;
  }

  flag(key: string, byDefault: boolean): boolean {
    const value = this.#value(key, byDefault);
    expectBoolean(key, value);
    return value;
  }

  oneOf<Choice extends string>(key: string, choices: readonly Choice[], byDefault: Choice): Choice {
    const value = this.#value(key, byDefault);
    expectOneOf(key, value, choices);
    return value;
  }

  /** Throws `ConfigError` unless the key is absent or has the one value that is supported. */
  only(key: string, supported: unknown, reason: string): void {
    const value = this.#value(key, supported);
    if (value !== supported) throw unexpected(key, `${supported}: ${reason}`, value);
  }

  #value(key: string, byDefault?: unknown): unknown {
    const value = this.#given(key) ?? byDefault;
    if (value === undefined)
      throw new ConfigError(`Expected the key \`${key}\` in the model's config, got none`);
    return value;
  }

  #given(key: string): unknown {
    return Object.hasOwn(this.#values, key) ? this.#values[key] : undefined;
  }
}
