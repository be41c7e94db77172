// What a GGUF file's metadata says of tokens, checked.
import { expectBoolean, unexpected } from '../base/checks.js';

/** Metadata of a GGUF file: numbers, booleans, texts, and arrays or typed arrays of them. */
export type GgufMetadata = ReadonlyMap<string, unknown>;

/** What `tokenizer.ggml.token_type` says a token is; 0 where it says nothing. */
export const tokenKind = { unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Parts that tokens play, in the words of keys. */
export type TokenRole = 'bos' | 'eos' | 'eot' | 'eom' | 'unknown' | 'padding';
export type TokenRoles = Readonly<Partial<Record<TokenRole, number>>>;

export const keyOf = (name: string): string => `tokenizer.ggml.${name}`;

/** Undefined where there is none. */
export function textIn(metadata: GgufMetadata, key: string): string | undefined {
  const value = metadata.get(key);
  if (value !== undefined && typeof value !== 'string') throw unexpected(key, 'a text', value);
  return value;
}

export function flagIn(metadata: GgufMetadata, key: string, otherwise: boolean): boolean {
  const value = metadata.get(key) ?? otherwise;
  expectBoolean(key, value);
  return value;
}

/** Tokens of a file. Their ids are their places. */
export class GgufTokens {
  readonly texts: readonly string[];
  /** By text. Left out are those that no text leads to: they fill up the rows of an embedding. */
  readonly ids: ReadonlyMap<string, number>;
  readonly #metadata: GgufMetadata;
  readonly #roles: TokenRoles;
  readonly #kinds: readonly number[];

  /** @param roles where the file does not say */
  constructor(metadata: GgufMetadata, roles: TokenRoles) {
    this.#metadata = metadata;
    this.#roles = roles;
    this.texts = this.#list('tokens');
    this.#kinds = this.numbers('token_type');
    const ids = new Map<string, number>();
    for (const [id, text] of this.texts.entries()) {
      const kind = this.kind(id);
      if (!Number.isInteger(kind) || kind < 0 || kind > tokenKind.byte)
        throw unexpected(`${keyOf('token_type')}[${id}]`, `from 0 to ${tokenKind.byte}`, kind);
      if (text === '' || kind === tokenKind.unused) continue;
      const same = ids.get(text);
      if (same !== undefined)
        throw unexpected(`${keyOf('tokens')}[${id}]`, `another text than that of ${same}`, text);
      ids.set(text, id);
    }
    this.ids = ids;
  }

  kind(id: number): number {
    return this.#kinds[id] as number;
  }

  /** A number of each token. */
  numbers(name: string): readonly number[] {
    const value = this.#metadata.get(keyOf(name));
    const isList = Array.isArray(value) || ArrayBuffer.isView(value);
    const numbers = isList ? Array.from(value as ArrayLike<unknown>, Number) : [];
    if (numbers.length !== this.texts.length || numbers.some(Number.isNaN))
      throw unexpected(keyOf(name), `${this.texts.length} numbers, one of each token`, value);
    return numbers;
  }

  /** The token that plays a part; undefined where there is none. */
  id(role: TokenRole): number | undefined {
    const key = keyOf(`${role}_token_id`);
    const value = this.#metadata.get(key) ?? this.#roles[role];
    if (value === undefined) return undefined;
    const id = typeof value === 'bigint' ? Number(value) : value;
    if (typeof id !== 'number' || this.texts[id] === undefined)
      throw unexpected(key, `a token from 0 to ${this.texts.length - 1}`, value);
    return id;
  }

  /** Its text. */
  text(role: TokenRole): string | undefined {
    const id = this.id(role);
    return id === undefined ? undefined : this.texts[id];
  }

  /** Which two tokens become another, the most urgent first: `a b`. */
  merges(): readonly string[] {
    const merges = this.#list('merges');
    for (const [index, merge] of merges.entries()) {
      const space = merge.indexOf(' ', 1);
      const [left, right] = [merge.slice(0, space), merge.slice(space + 1)];
      if (space < 0 || ![left, right, left + right].every((text) => this.ids.has(text)))
        throw unexpected(
          `${keyOf('merges')}[${index}]`,
          'two tokens with a space between them, which together are a token',
          merge,
        );
    }
    return merges;
  }

  #list(name: string): readonly string[] {
    const value = this.#metadata.get(keyOf(name));
    if (!Array.isArray(value) || value.some((text) => typeof text !== 'string'))
      throw unexpected(keyOf(name), 'a list of texts', value);
    return value as string[];
  }
}
