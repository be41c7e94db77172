const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const digits = /^\d+$/;
const word = /true|false|null/y;

/** Nesting that `skip` follows. Tables of tensors have two or three levels. */
const maxDepth = 16;

/**
 * Reads JSON text from left to right and stops at the first wrong character. Checkpoint headers go through it and not
 * through `JSON.parse`, which keeps the last of two equal keys and builds any tree, however large, before it can be
 * looked at.
 */
export class JsonReader {
  readonly #text: string;
  readonly #fail: (expected: string, got: string) => Error;
  #at = 0;

  /** `fail` makes the error to throw out of what the text should hold and what it holds. */
  constructor(text: string, fail: (expected: string, got: string) => Error) {
    this.#text = text;
    this.#fail = fail;
  }

  /** Reads an object. `readValue` is called after each key and reads its value. */
  object(readValue: (key: string) => void): void {
    const keys = new Set<string>();
    this.#expect('{');
    if (this.#accept('}')) return;
    do {
      const key = this.string();
      if (keys.has(key)) throw this.#fail(`the key ${quote(key)} once`, 'it twice');
      keys.add(key);
      this.#expect(':');
      readValue(key);
    } while (this.#accept(','));
    this.#expect('}');
  }

  /** Reads an array. `readElement` is called for each element and reads it. */
  array(readElement: () => void): void {
    this.#expect('[');
    if (this.#accept(']')) return;
    do readElement();
    while (this.#accept(','));
    this.#expect(']');
  }

  string(): string {
    this.#skipSpace();
    const start = this.#at;
    if (this.#text[start] !== '"') throw this.#unexpected('a string');
    let end = start + 1;
    while (end < this.#text.length && this.#text[end] !== '"')
      end += this.#text[end] === '\\' ? 2 : 1;
    this.#at = end + 1;
    try {
      return JSON.parse(this.#text.slice(start, end + 1)) as string;
    } catch {
      this.#at = start;
      throw this.#unexpected('a string');
    }
  }

  /** Reads an integer from 0 to 2^53 - 1. */
  integer(): number {
    const start = this.#at;
    const text = this.#match(number);
    const value = Number(text);
    if (text !== undefined && digits.test(text) && Number.isSafeInteger(value)) return value;
    this.#at = start;
    throw this.#unexpected('an integer from 0 to 2^53 - 1');
  }

  /** Reads an array of integers from 0 to 2^53 - 1. */
  integers(): number[] {
    const values: number[] = [];
    this.array(() => values.push(this.integer()));
    return values;
  }

  /** Reads a value of any kind and forgets it. */
  skip(depth = 0): void {
    const next = this.peek();
    if (depth === maxDepth) throw this.#unexpected(`at most ${maxDepth} levels`);
    if (next === '{') this.object(() => this.skip(depth + 1));
    else if (next === '[') this.array(() => this.skip(depth + 1));
    else if (next === '"') this.string();
    else if (this.#match(number) === undefined && this.#match(word) === undefined)
      throw this.#unexpected('a value');
  }

  /** The next character that is not space, or '' at the end. */
  peek(): string {
    this.#skipSpace();
    return this.#text[this.#at] ?? '';
  }

  /** Throws unless only space is left. */
  end(): void {
    if (this.peek() !== '') throw this.#unexpected('nothing more');
  }

  #accept(character: string): boolean {
    if (this.peek() !== character) return false;
    this.#at++;
    return true;
  }

  #expect(character: string): void {
    if (!this.#accept(character)) throw this.#unexpected(quote(character));
  }

  #match(pattern: RegExp): string | undefined {
    this.#skipSpace();
    pattern.lastIndex = this.#at;
    const text = pattern.exec(this.#text)?.[0];
    if (text !== undefined) this.#at += text.length;
    return text;
  }

  #skipSpace(): void {
    while (isSpace(this.#text.charCodeAt(this.#at))) this.#at++;
  }

  #unexpected(expected: string): Error {
    this.#skipSpace();
    const got = this.#text.slice(this.#at, this.#at + 24);
    return this.#fail(
      `${expected} at character ${this.#at}`,
      got === '' ? 'the end of the text' : quote(got),
    );
  }
}

/** `text` in double quotes, control characters escaped, cut to a length fit for a message. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}
