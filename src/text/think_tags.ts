import type { Channels, ChannelText, Vocabulary } from './channel.js';
import { Detokenizer } from './detokenizer.js';
import { StopStrings } from './stop_strings.js';

const open = '<think>';
const close = '</think>';

/** Whether a chat template is of a model that writes its reasoning between tags. */
export const hasThinkTags = (template: string): boolean => template.includes(close);

/** Text whose reasoning is known; line breaks around the tags belong to them. */
class Split {
  reasons: boolean;
  #trims = true;

  constructor(reasons: boolean) {
    this.reasons = reasons;
  }

  turn(reasons: boolean): void {
    this.reasons = reasons;
    this.#trims = true;
  }

  put(text: string): ChannelText {
    const kept = this.#trims ? text.replace(/^\n+/, '') : text;
    if (kept !== '') this.#trims = false;
    return this.reasons
      ? { text: '', reasoning: kept, toolCalls: [] }
      : { text: kept, reasoning: '', toolCalls: [] };
  }
}

/** Models that write their reasoning between `<think>` and `</think>`, each of which is a token. */
export class ThinkTags implements Channels {
  #detokenizer: Detokenizer;
  readonly #tokenizer: Vocabulary;
  readonly #tags: { readonly open: number; readonly close: number };
  readonly #split: Split;

  private constructor(
    tokenizer: Vocabulary,
    tags: { open: number; close: number },
    reasons: boolean,
  ) {
    this.#tokenizer = tokenizer;
    this.#tags = tags;
    this.#split = new Split(reasons);
    this.#detokenizer = new Detokenizer(tokenizer);
  }

  /** @param prompt the prompt's tokens: one that ends with the opening tag begins the answer inside */
  static of(tokenizer: Vocabulary, prompt: ArrayLike<number>): ThinkTags | undefined {
    const [opens, closes] = [tokenizer.id(open), tokenizer.id(close)];
    if (opens === undefined || closes === undefined) return undefined;
    let last = prompt.length - 1;
    while (last >= 0 && isBlank(tokenizer, prompt[last] as number)) last--;
    return new ThinkTags(tokenizer, { open: opens, close: closes }, prompt[last] === opens);
  }

  get reasons(): boolean {
    return this.#split.reasons;
  }

  push(token: number): ChannelText {
    if (token !== this.#tags.open && token !== this.#tags.close)
      return this.#split.put(this.#detokenizer.push(token));
    const rest = this.#split.put(this.#detokenizer.end());
    this.#detokenizer = new Detokenizer(this.#tokenizer);
    this.#split.turn(token === this.#tags.open);
    return rest;
  }

  end(): ChannelText {
    return this.#split.put(this.#detokenizer.end());
  }
}

/** The same where a tag is several tokens. */
export class ThinkText implements Channels {
  readonly #detokenizer: Detokenizer;
  readonly #split: Split;
  readonly #tags = new StopStrings([open, close]);

  /** @param prompt the prompt's tokens: one that ends with the opening tag begins the answer inside */
  constructor(tokenizer: Vocabulary, prompt: ArrayLike<number>) {
    this.#detokenizer = new Detokenizer(tokenizer);
    // A token is a byte or more, but for special ones, which end what may be looked at.
    const tail = Array.from(prompt).slice(-4 * open.length);
    const text = tail.map((token) => (tokenizer.special(token) ? '\0' : textOf(tokenizer, token)));
    this.#split = new Split(text.join('').trimEnd().endsWith(open));
  }

  get reasons(): boolean {
    return this.#split.reasons;
  }

  push(token: number): ChannelText {
    return this.#put(this.#detokenizer.push(token));
  }

  end(): ChannelText {
    const found = this.#put(this.#detokenizer.end());
    const left = this.#split.put(this.#tags.end());
    return joined(found, left);
  }

  #put(more: string): ChannelText {
    let all: ChannelText = { text: '', reasoning: '', toolCalls: [] };
    for (let next: string | undefined = more; next !== undefined; ) {
      const { text, stop, rest } = this.#tags.push(next);
      all = joined(all, this.#split.put(text));
      if (stop !== undefined) this.#split.turn(stop === open);
      next = rest;
    }
    return all;
  }
}

const joined = (one: ChannelText, two: ChannelText): ChannelText => ({
  text: one.text + two.text,
  reasoning: one.reasoning + two.reasoning,
  toolCalls: [],
});

const textOf = (tokenizer: Vocabulary, token: number): string =>
  new TextDecoder().decode(tokenizer.bytes(token));

/** Whether a token of a prompt is white space. */
const isBlank = (tokenizer: Vocabulary, token: number): boolean =>
  tokenizer.special(token) === undefined && textOf(tokenizer, token).trim() === '';
