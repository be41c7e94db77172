import {
  describe,
  expectBoolean,
  expectInteger,
  expectNumber,
  expectObject,
  expectOneOf,
  unexpected,
} from '../checks.js';
import { ConfigError } from '../errors.js';
import { maxInt32 } from './fields.js';
import { blockKeys, keyAliases, mayBeBlockKey } from './hugging_face_block_keys.js';

interface Found {
  /** The key under which the config has it. */
  name: string;
  value: unknown;
}

/**
 * Reads a `config.json` key by key, each under any of its names, and notes which were read. Every error names the key. A
 * key that is absent or null takes its default, which is that of the model's class in Transformers; one without a default
 * is needed.
 */
export class HuggingFaceKeys {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #read = new Set<string>();

  constructor(config: unknown) {
    expectObject('config', config);
    this.#values = config;
  }

  count(key: string, byDefault?: number, min = 1, max = maxInt32): number {
    const { name, value } = this.#valueOf(key, byDefault);
    expectInteger(name, value, min, max);
    return value;
  }

  /** Null says 0 here. */
  countOrNone(key: string, byDefault: number): number {
    return this.#find(key)?.value === null ? 0 : this.count(key, byDefault, 0);
  }

  number(key: string, byDefault: number): number {
    const { name, value } = this.#valueOf(key, byDefault);
    expectNumber(name, value);
    return value;
  }

  flag(key: string, byDefault: boolean): boolean {
    const { name, value } = this.#valueOf(key, byDefault);
    expectBoolean(name, value);
    return value;
  }

  oneOf<Choice extends string>(key: string, choices: readonly Choice[], byDefault: Choice): Choice {
    const { name, value } = this.#valueOf(key, byDefault);
    expectOneOf(name, value, choices);
    return value;
  }

  /** Throws `ConfigError` unless the key is absent or has the one value that is supported. */
  only(key: string, supported: unknown, reason: string): void {
    const { name, value } = this.#valueOf(key, supported);
    if (value !== supported) throw unexpected(name, `${supported}: ${reason}`, value);
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

  #valueOf(key: string, byDefault?: unknown): Found {
    const found = this.#find(key);
    const value = found?.value ?? byDefault;
    if (value === undefined)
      throw new ConfigError(`Expected the key \`${key}\` in the model's config, got none`);
    return { name: found?.name ?? key, value };
  }

  /** Undefined where the config has it under no name; null where it says null under all that it has. */
  #find(key: string): Found | undefined {
    const names = keyAliases.find((group) => group.includes(key)) ?? [key];
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
