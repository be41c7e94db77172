// Which part of an answer a token belongs to: what the user reads, or what the model thought before.
import { Detokenizer } from './detokenizer.js';
import type { TextTokenizer } from './types.js';

/** Text of an answer, by what it is for. */
export interface ChannelText {
  text: string;
  reasoning: string;
}

export interface Channels {
  /** Takes a token; gives what is certain now. */
  push(token: number): ChannelText;
  /** Whether tokens belong to the reasoning now. */
  readonly reasons: boolean;
  end(): ChannelText;
}

type Vocabulary = Pick<TextTokenizer, 'bytes' | 'special' | 'id'>;

/** Everything is text. */
export class PlainText implements Channels {
  readonly reasons = false;
  readonly #detokenizer: Detokenizer;

  constructor(tokenizer: Vocabulary) {
    this.#detokenizer = new Detokenizer(tokenizer);
  }

  push(token: number): ChannelText {
    return { text: this.#detokenizer.push(token), reasoning: '' };
  }

  end(): ChannelText {
    return { text: this.#detokenizer.end(), reasoning: '' };
  }
}

const open = '<think>';
const close = '</think>';

/** Models that write their reasoning between `<think>` and `</think>`, each of which is a token. */
export class ThinkTags implements Channels {
  #detokenizer: Detokenizer;
  readonly #tokenizer: Vocabulary;
  readonly #tags: { readonly open: number; readonly close: number };
  #reasons: boolean;
  /** Line breaks around the tags belong to them. */
  #trims = true;

  private constructor(
    tokenizer: Vocabulary,
    tags: { open: number; close: number },
    reasons: boolean,
  ) {
    this.#tokenizer = tokenizer;
    this.#tags = tags;
    this.#reasons = reasons;
    this.#detokenizer = new Detokenizer(tokenizer);
  }

  /** @param prompt the prompt's tokens: one that ends inside the tags begins the answer there */
  static of(tokenizer: Vocabulary, prompt: ArrayLike<number>): ThinkTags | undefined {
    const [opens, closes] = [tokenizer.id(open), tokenizer.id(close)];
    if (opens === undefined || closes === undefined) return undefined;
    let reasons = false;
    for (let i = prompt.length - 1; i >= 0; i--) {
      if (prompt[i] === closes) break;
      if (prompt[i] !== opens) continue;
      reasons = true;
      break;
    }
    return new ThinkTags(tokenizer, { open: opens, close: closes }, reasons);
  }

  get reasons(): boolean {
    return this.#reasons;
  }

  push(token: number): ChannelText {
    if (token !== this.#tags.open && token !== this.#tags.close)
      return this.#put(this.#detokenizer.push(token));
    const rest = this.#put(this.#detokenizer.end());
    this.#detokenizer = new Detokenizer(this.#tokenizer);
    this.#reasons = token === this.#tags.open;
    this.#trims = true;
    return rest;
  }

  end(): ChannelText {
    return this.#put(this.#detokenizer.end());
  }

  #put(text: string): ChannelText {
    const kept = this.#trims ? text.replace(/^\n+/, '') : text;
    if (kept !== '') this.#trims = false;
    return this.#reasons ? { text: '', reasoning: kept } : { text: kept, reasoning: '' };
  }
}

const marks = [
  '<|start|>',
  '<|channel|>',
  '<|message|>',
  '<|end|>',
  '<|return|>',
  '<|call|>',
] as const;

/** gpt-oss: messages with a header each, told apart by tokens, never by text. */
export class Harmony implements Channels {
  readonly #tokenizer: Vocabulary;
  readonly #marks: ReadonlyMap<number, (typeof marks)[number]>;
  #detokenizer: Detokenizer;
  /** Inside a header, what it says so far; undefined inside a message. */
  #header: string | undefined;
  #channel = 'final';

  private constructor(tokenizer: Vocabulary, ids: ReadonlyMap<number, (typeof marks)[number]>) {
    this.#tokenizer = tokenizer;
    this.#marks = ids;
    this.#detokenizer = new Detokenizer(tokenizer);
  }

  static of(tokenizer: Vocabulary): Harmony | undefined {
    const ids = new Map<number, (typeof marks)[number]>();
    for (const mark of marks) {
      const id = tokenizer.id(mark);
      if (id === undefined) return undefined;
      ids.set(id, mark);
    }
    return new Harmony(tokenizer, ids);
  }

  get reasons(): boolean {
    return this.#channel === 'analysis';
  }

  push(token: number): ChannelText {
    const mark = this.#marks.get(token);
    if (mark === undefined) return this.#put(this.#detokenizer.push(token));
    const rest = this.#put(this.#detokenizer.end());
    this.#detokenizer = new Detokenizer(this.#tokenizer);
    if (mark === '<|start|>') this.#header = '';
    else if (mark === '<|channel|>') this.#header = '';
    else if (mark === '<|message|>') {
      this.#channel = /^\s*(\w+)/.exec(this.#header ?? '')?.[1] ?? this.#channel;
      this.#header = undefined;
    }
    return rest;
  }

  end(): ChannelText {
    return this.#put(this.#detokenizer.end());
  }

  #put(text: string): ChannelText {
    if (this.#header !== undefined) {
      this.#header += text;
      return { text: '', reasoning: '' };
    }
    return this.reasons ? { text: '', reasoning: text } : { text, reasoning: '' };
  }
}

/** The channels of a model's answers, by what its chat template and its tokenizer have. */
export function channelsOf(
  tokenizer: Vocabulary,
  template: string | undefined,
  prompt: ArrayLike<number>,
): Channels {
  const harmony = template?.includes('<|channel|>') ? Harmony.of(tokenizer) : undefined;
  const thinking = template?.includes(close) ? ThinkTags.of(tokenizer, prompt) : undefined;
  return harmony ?? thinking ?? new PlainText(tokenizer);
}
