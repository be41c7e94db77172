import { type Call, isJsonObject } from './call_bodies.js';
import { type CallHash, idOf, pieceOf } from './call_forms.js';
import type { Channels, ChannelText, Vocabulary } from './channel.js';
import { Detokenizer } from './detokenizer.js';
import type { ToolCallPiece } from './types.js';

const marks = [
  '<|start|>',
  '<|channel|>',
  '<|message|>',
  '<|end|>',
  '<|return|>',
  '<|call|>',
  '<|constrain|>',
] as const;
type Mark = (typeof marks)[number];

/** Whether a chat template is of a model that answers in channels. */
export const isHarmony = (template: string): boolean => template.includes('<|channel|>');

/** What stands before a message: who writes it, then where it belongs to. */
interface Header {
  role: string;
  channel: string | undefined;
}

/**
 * gpt-oss: messages with a header each, told apart by tokens, never by text. What is in the channel `analysis`, or for a tool that is
 * no function, is reasoning. What is for `functions.NAME` is a call, which comes whole, or as text where it is no JSON.
 */
export class Harmony implements Channels {
  readonly #tokenizer: Vocabulary;
  readonly #marks: ReadonlyMap<number, Mark>;
  readonly #hashOf: CallHash;
  #detokenizer: Detokenizer;
  /** Undefined inside a message. */
  #header: Header | undefined;
  #channel = 'final';
  #recipient: string | undefined;
  /** Arguments of the call that is being written. */
  #arguments = '';
  #calls = 0;

  private constructor(
    tokenizer: Vocabulary,
    ids: ReadonlyMap<number, Mark>,
    inHeader: boolean,
    hashOf: CallHash,
  ) {
    this.#tokenizer = tokenizer;
    this.#marks = ids;
    this.#hashOf = hashOf;
    this.#detokenizer = new Detokenizer(tokenizer);
    if (inHeader) this.#header = { role: '', channel: undefined };
  }

  /**
   * @param prompt the prompt's tokens: the answer begins in the header that they end with
   * @returns undefined where the marks are no tokens
   */
  static of(
    tokenizer: Vocabulary,
    prompt: ArrayLike<number>,
    hashOf: CallHash,
  ): Harmony | undefined {
    const ids = new Map<number, Mark>();
    for (const mark of marks) {
      const id = tokenizer.id(mark);
      if (id === undefined) return undefined;
      ids.set(id, mark);
    }
    let last = prompt.length - 1;
    while (last >= 0 && !ids.has(prompt[last] as number)) last--;
    return new Harmony(tokenizer, ids, ids.get(prompt[last] as number) === '<|start|>', hashOf);
  }

  get reasons(): boolean {
    return this.#recipient === undefined
      ? this.#channel === 'analysis'
      : this.#function === undefined;
  }

  push(token: number): ChannelText {
    const mark = this.#marks.get(token);
    if (mark === undefined) return this.#put(this.#detokenizer.push(token));
    const rest = this.#put(this.#detokenizer.end());
    this.#detokenizer = new Detokenizer(this.#tokenizer);
    return joined(rest, this.#turn(mark));
  }

  end(isCut: boolean): ChannelText {
    return joined(this.#put(this.#detokenizer.end()), this.#endMessage(isCut));
  }

  get #function(): string | undefined {
    return /^functions\.(.+)/.exec(this.#recipient ?? '')?.[1];
  }

  #turn(mark: Mark): ChannelText {
    if (mark === '<|message|>') {
      this.#beginMessage();
      return nothing;
    }
    if (mark === '<|constrain|>') return this.#header === undefined ? nothing : this.#put(' ');
    if (mark === '<|channel|>' && this.#header !== undefined) {
      this.#header.channel ??= '';
      return nothing;
    }
    const left = this.#endMessage();
    this.#header =
      mark === '<|start|>' || mark === '<|channel|>'
        ? { role: '', channel: mark === '<|channel|>' ? '' : undefined }
        : undefined;
    return left;
  }

  #beginMessage(): void {
    const { role = '', channel = '' } = this.#header ?? {};
    this.#channel = /^\s*(\w+)/.exec(channel)?.[1] ?? this.#channel;
    this.#recipient = /\bto=(\S+)/.exec(channel)?.[1] ?? /\bto=(\S+)/.exec(role)?.[1];
    this.#header = undefined;
  }

  /** What was held back of a message; of a header that no message followed, what is none. */
  #endMessage(isCut = false): ChannelText {
    const name = this.#function;
    const given = this.#arguments;
    const stray =
      this.#header?.role.replace(/^\s*assistant\b/, '').replace(/\s*\bto=\S+/, '') ?? '';
    this.#header = undefined;
    this.#arguments = '';
    this.#recipient = undefined;
    if (name === undefined) return stray === '' ? nothing : this.#put(stray);
    // Of a call that was cut before its arguments nobody knows that it has none.
    if (given.trim() === '' ? isCut : !isJsonObject(given)) return { ...nothing, text: given };
    const call: Call = { name, arguments: given.trim() || '{}' };
    const makeId = (index: number) => idOf(this.#hashOf(index));
    return { ...nothing, toolCalls: [pieceOf(call, this.#calls++, makeId)] };
  }

  #put(text: string): ChannelText {
    if (this.#header?.channel !== undefined) this.#header.channel += text;
    else if (this.#header !== undefined) this.#header.role += text;
    else if (this.#function !== undefined) this.#arguments += text;
    else return this.reasons ? { ...nothing, reasoning: text } : { ...nothing, text };
    return nothing;
  }
}

const nothing: ChannelText = { text: '', reasoning: '', toolCalls: [] };

const joined = (one: ChannelText, two: ChannelText): ChannelText => ({
  text: one.text + two.text,
  reasoning: one.reasoning + two.reasoning,
  toolCalls: [...one.toolCalls, ...two.toolCalls] satisfies ToolCallPiece[],
});
