import {
  expectBoolean,
  expectInteger,
  expectNumber,
  expectObject,
  type NumberRange,
  unexpected,
} from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import { maxInt32 } from '../config/fields.js';
import { type DecoderKey, decoderKeys, isUnderstood, mayBeDecoderKey } from './families/keys.js';
import type { Said } from './families/row.js';

type Json = Readonly<Record<string, unknown>>;

/** Of each layer, and of each pair of a head, something is in memory before any tensor says that there are fewer. */
export const mostLayers = 2 ** 16;
export const mostHeadSize = 2 ** 16;

/** Reads what a `config.json` says of a decoder, and notes which keys were read. Null is what an absent key is. */
export class ModelKeys {
  readonly #config: Json;
  readonly #read = new Set<string>();

  constructor(config: unknown) {
    expectObject('config', config);
    this.#config = config;
  }

  /** Undefined where it is absent or null. */
  get(key: DecoderKey): unknown {
    this.#read.add(key);
    return this.#config[key] ?? undefined;
  }

  /** Whether null stands there, which an absent key is not in the few places that ask. */
  isNull(key: DecoderKey): boolean {
    this.#read.add(key);
    return this.#config[key] === null;
  }

  /** Takes keys for read. */
  ignore(keys: readonly string[]): void {
    for (const key of keys) this.#read.add(key);
  }

  /** Needed where it has no default. */
  integer(key: DecoderKey, byDefault?: number, most = maxInt32): number {
    const value = this.get(key) ?? byDefault;
    if (value === undefined) throw missing(key);
    expectInteger(key, value, 1, most);
    return value;
  }

  number(key: DecoderKey, range: NumberRange, byDefault?: number): number {
    const value = this.get(key) ?? byDefault;
    if (value === undefined) throw missing(key);
    expectNumber(key, value, range);
    return value;
  }

  boolean(key: DecoderKey, byDefault: boolean): boolean {
    const value = this.get(key) ?? byDefault;
    expectBoolean(key, value);
    return value;
  }

  /** A constant of the family, or what a key says. */
  said(value: Said<boolean>): boolean {
    return typeof value === 'boolean' ? value : this.boolean(value.key, value.default);
  }

  /** A number of layers, which may be 0; a key that means nothing to most families. */
  count(key: 'max_window_layers', byDefault: number): number {
    const value = this.#config[key] ?? byDefault;
    expectInteger(key, value, 0, maxInt32);
    return value;
  }

  /** The width of dense feed-forward layers. */
  denseWidth(): number {
    const { intermediate_size: width } = this.#config;
    if (width === undefined || width === null) throw missing('intermediate_size');
    expectInteger('intermediate_size', width, 1, maxInt32);
    return width;
  }

  /**
   * Throws `ConfigError` for a key that nothing has read and that changes what a decoder computes, or may.
   *
   * @param says values at which keys say what the family does anyway
   * @returns a sentence for each other key that is not known
   */
  expectUnderstood(
    modelType: string,
    says: Readonly<Record<string, readonly unknown[]>>,
  ): string[] {
    for (const [key, neutral] of decoderKeys) {
      const value = this.#config[key] ?? undefined;
      if (this.#read.has(key) || value === undefined || isEmpty(value)) continue;
      const values = says[key] ?? neutral;
      if (values.includes(value)) continue;
      const allowed = ['left out', ...values.map(String)].join(' or ');
      throw unexpected(key, `${allowed}: models of type ${modelType} do not have it`, value);
    }
    const unknown = Object.keys(this.#config).filter(
      (key) => !isUnderstood(key) && (this.#config[key] ?? undefined) !== undefined,
    );
    const [refused] = unknown.filter(mayBeDecoderKey);
    if (refused !== undefined)
      throw unexpected(
        refused,
        `left out: it is not known for models of type ${modelType} and may change what they compute`,
        this.#config[refused],
      );
    return unknown.map((key) => `\`${key}\` of the model's config is not known, and has no effect`);
  }
}

const missing = (key: string) =>
  new ConfigError(`Expected the key \`${key}\` in the model's config, got none`);

const isEmpty = (value: unknown) => Array.isArray(value) && value.length === 0;
