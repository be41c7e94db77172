export type Json = Readonly<Record<string, unknown>>;

/** A description of quantised weights that are not read: `form` says what is not known of it. */
export class UnknownForm extends Error {
  constructor(readonly form: string) {
    super(form);
  }
}

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What helps where a form of weights is not read. */
export const otherForms =
  'take the checkpoint that it was made of, which `weightType` holds in fewer bits, or another quantisation of that';

/** Keys of a description by one method. What is wrong with one is named with the method. */
export class Keys {
  readonly #method: string;
  readonly #json: Json;

  constructor(method: string, json: unknown, key = '') {
    this.#method = method;
    if (!isObject(json)) throw this.unknown(key, json);
    this.#json = json;
  }

  unknown(key: string, value: unknown): UnknownForm {
    const text = isObject(value) ? JSON.stringify(value) : String(value);
    return new UnknownForm(`${this.#method}, ${key} ${text}`);
  }

  /** The first key that is there; `null` is none. */
  get(...names: string[]): unknown {
    return names
      .map((name) => this.#json[name])
      .find((value) => (value ?? undefined) !== undefined);
  }

  /** One of some values, or the first of them where the key is left out. */
  oneOf<T extends string | number | boolean>(names: string | string[], ...values: [T, ...T[]]): T {
    const keys = [names].flat();
    const value = this.get(...keys);
    if (value === undefined) return values[0];
    const found = values.find((known) => known === value);
    if (found === undefined) throw this.unknown(keys[0] as string, value);
    return found;
  }

  /** As `oneOf`, but it must be there. */
  given<T extends string | number>(names: string | string[], ...values: [T, ...T[]]): T {
    const keys = [names].flat();
    if (this.get(...keys) === undefined) throw this.unknown(keys[0] as string, undefined);
    return this.oneOf(keys, ...values);
  }

  /** Inputs that share a scale; -1 and what is left out for all is 0. */
  group(names: string | string[], byDefault?: number): number {
    const keys = [names].flat();
    const value = this.get(...keys) ?? byDefault;
    if (value === -1) return 0;
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
    throw this.unknown(keys[0] as string, value);
  }

  strings(...names: string[]): string[] {
    const value = this.get(...names) ?? [];
    if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return value;
    throw this.unknown(names[0] as string, value);
  }

  /** What stands under names of its own. */
  entries(name: string): [string, unknown][] {
    const value = this.get(name) ?? {};
    if (!isObject(value)) throw this.unknown(name, value);
    return Object.entries(value);
  }

  /** Python's `re.match`: a pattern that holds at the beginning. */
  pattern(name: string, text: string): RegExp {
    return this.anywhere(name, text, (pattern) => `^(?:${pattern})`);
  }

  /** Python's `re.search`: a pattern that holds anywhere. */
  anywhere(name: string, text: string, placed = (pattern: string) => pattern): RegExp {
    try {
      return new RegExp(placed(text));
    } catch {
      throw this.unknown(name, text);
    }
  }
}
