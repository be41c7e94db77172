// Calls of functions within the text of an answer.
import {
  type CalledText,
  type CallForm,
  type CallHash,
  callFormOf,
  pieceOf,
} from './call_forms.js';
import type { Vocabulary } from './channel.js';
import { isHarmony } from './harmony.js';
import type { Tool, ToolCallPiece } from './types.js';

/** Whose form of calls a chat template makes its model write; undefined where it is none that is understood here. */
export const toolCallsOf = (template: string): string | undefined =>
  isHarmony(template) ? 'gpt-oss' : callFormOf(template)?.name;

/** The tokenizer, whose tokens of this form are text even where it takes them for special ones. */
export function tellingCalls(tokenizer: Vocabulary, form: CallForm | undefined): Vocabulary {
  const told = new Map<number, Uint8Array>();
  for (const text of form ? [form.begin, form.end ?? '', ...form.within] : []) {
    const id = tokenizer.id(text);
    if (id !== undefined) told.set(id, new TextEncoder().encode(text));
  }
  return {
    bytes: (token) => told.get(token) ?? tokenizer.bytes(token),
    special: (token) => (told.has(token) ? undefined : tokenizer.special(token)),
    id: (text) => tokenizer.id(text),
  };
}

/**
 * Takes calls out of a text, over the borders of its pieces. A call comes whole, once its end is there: half of its arguments is of use
 * to nobody. What is no call of the form stays text.
 */
export class ToolCalls {
  readonly #form: CallForm;
  readonly #tools: readonly Tool[];
  readonly #hashOf: CallHash;
  /** Text that may become a call: line breaks before one, and the beginning of its mark. */
  readonly #mayBegin: RegExp;
  #held = '';
  /** Between the text and the call that may follow. */
  #gap = '';
  #within = false;
  #count = 0;

  constructor(form: CallForm, tools: readonly Tool[], hashOf: CallHash) {
    this.#form = form;
    this.#tools = tools;
    this.#hashOf = hashOf;
    const beginnings = Array.from(form.begin, (_, i) => form.begin.slice(0, i + 1));
    const words = beginnings.map((text) => text.replace(/[[\]|]/g, '\\$&'));
    this.#mayBegin = new RegExp(`\\s*(?:${words.join('|')})?$`);
  }

  push(more: string): CalledText {
    const { begin, end } = this.#form;
    this.#held += more;
    let text = '';
    const toolCalls: ToolCallPiece[] = [];
    for (;;) {
      const mark = this.#within ? end : begin;
      const at = mark === undefined ? -1 : this.#held.indexOf(mark);
      if (mark === undefined || at < 0) break;
      const before = this.#held.slice(0, at);
      this.#held = this.#held.slice(at + mark.length);
      if (this.#within) {
        const calls = this.#callsOf(before, true);
        if (calls === undefined) text += this.#gap + begin + before + end;
        else toolCalls.push(...calls);
      } else {
        const shown = before.trimEnd();
        text += shown;
        this.#gap = before.slice(shown.length);
      }
      this.#within = !this.#within;
    }
    if (!this.#within) {
      const sure = this.#held.search(this.#mayBegin);
      text += this.#held.slice(0, sure);
      this.#held = this.#held.slice(sure);
    }
    return { text, toolCalls };
  }

  /** What was held back: the last call may have been ended by a token instead of its mark. */
  end(): CalledText {
    const held = this.#held;
    this.#held = '';
    if (!this.#within) return { text: this.#count > 0 ? held.trimEnd() : held, toolCalls: [] };
    this.#within = false;
    const calls = this.#callsOf(held, false);
    return calls === undefined
      ? { text: this.#gap + this.#form.begin + held, toolCalls: [] }
      : { text: '', toolCalls: calls };
  }

  #callsOf(body: string, ended: boolean): ToolCallPiece[] | undefined {
    const calls = this.#form.callsOf(body, this.#tools, ended);
    const idOf = (call: number) => this.#form.idOf(this.#hashOf(call));
    return calls?.map((call) => pieceOf(call, this.#count++, idOf));
  }
}
