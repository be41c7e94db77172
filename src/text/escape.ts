// Special tokens that somebody writes into a message stay text.

/** Stands in a template's variables where a special token's text stood; private-use characters are in no template. */
const mark = '\uE000';
const end = '\uE001';

export class Escaped {
  readonly #texts: readonly string[];
  readonly #pattern: RegExp | undefined;

  /** @param specialTexts the literal texts of special tokens */
  constructor(specialTexts: readonly string[]) {
    this.#texts = specialTexts.filter((text) => text !== '');
    const alternatives = [...this.#texts, mark, end]
      .sort((a, b) => b.length - a.length)
      .map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    this.#pattern = new RegExp(alternatives.join('|'), 'g');
  }

  /** The value with every text in it escaped, names of its fields, too. */
  in<Value>(value: Value): Value {
    if (typeof value === 'string') return this.#escape(value) as Value;
    if (Array.isArray(value)) return value.map((each) => this.in(each)) as Value;
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, each]) => [this.#escape(name), this.in(each)]),
    ) as Value;
  }

  /** Pieces of the rendered text to encode one by one: no special token's text is whole in any that was escaped. */
  segments(rendered: string): string[] {
    const segments: string[] = [''];
    const add = (text: string) => {
      segments[segments.length - 1] += text;
    };
    for (const part of rendered.split(new RegExp(`(${mark}\\d+${end})`))) {
      const index = new RegExp(`^${mark}(\\d+)${end}$`).exec(part)?.[1];
      if (index === undefined) {
        add(part);
        continue;
      }
      const text = [...this.#texts, mark, end][Number(index)] as string;
      for (const half of this.#halves(text)) {
        add(half);
        segments.push('');
      }
    }
    return segments.filter((segment) => segment !== '');
  }

  #escape(text: string): string {
    return this.#pattern === undefined
      ? text
      : text.replace(
          this.#pattern,
          (found) => `${mark}${[...this.#texts, mark, end].indexOf(found)}${end}`,
        );
  }

  /** The text in two, or letter by letter where both halves always hold a special token. */
  #halves(text: string): string[] {
    const clean = (part: string) => !this.#texts.some((special) => part.includes(special));
    for (let at = 1; at < text.length; at++) {
      const halves = [text.slice(0, at), text.slice(at)];
      if (halves.every(clean)) return halves;
    }
    return [...text];
  }
}
