// Calls of functions within the text of an answer.
import { randomUUID } from 'node:crypto';
import type { Tool, ToolCallPiece } from './types.js';

const begin = '<tool_call>';
const end = '</tool_call>';
/** Text that may become a call: line breaks before one, and the beginning of `<tool_call>`. */
const mayBegin = new RegExp(
  `\\s*(?:${Array.from(begin, (_, i) => begin.slice(0, i + 1)).join('|')})?$`,
);

/** Whether a chat template makes its model write calls that are understood here. */
export const writesToolCalls = (template: string): boolean => template.includes(begin);

/** What of a piece of text is for the reader, and what for functions. */
export interface CalledText {
  text: string;
  toolCalls: readonly ToolCallPiece[];
}

/**
 * Takes calls out of a text, over the borders of its pieces. A call comes whole, once its end is there: half of its arguments is of use
 * to nobody. Between `<tool_call>` and `</tool_call>` stands one of three forms: JSON (Hermes, Qwen), `<function=NAME>` with
 * `<parameter=KEY>` (Qwen3-Coder), or a name with `<arg_key>` and `<arg_value>` (GLM). What is none of them stays text.
 */
export class ToolCalls {
  readonly #tools: readonly Tool[];
  #held = '';
  /** Between the text and the call that may follow. */
  #gap = '';
  #within = false;
  #count = 0;

  constructor(tools: readonly Tool[]) {
    this.#tools = tools;
  }

  /** Whether the answer calls something. */
  get called(): boolean {
    return this.#count > 0;
  }

  push(more: string): CalledText {
    this.#held += more;
    let text = '';
    const toolCalls: ToolCallPiece[] = [];
    for (;;) {
      const at = this.#held.indexOf(this.#within ? end : begin);
      if (at < 0) break;
      const before = this.#held.slice(0, at);
      this.#held = this.#held.slice(at + (this.#within ? end : begin).length);
      if (this.#within) {
        const call = this.#callOf(before);
        if (call === undefined) text += this.#gap + begin + before + end;
        else toolCalls.push(call);
      } else {
        const shown = before.trimEnd();
        text += shown;
        this.#gap = before.slice(shown.length);
      }
      this.#within = !this.#within;
    }
    if (!this.#within) {
      const sure = this.#held.search(mayBegin);
      text += this.#held.slice(0, sure);
      this.#held = this.#held.slice(sure);
    }
    return { text, toolCalls };
  }

  /** What was held back: the last call may have been ended by a token instead of its mark. */
  end(): CalledText {
    const held = this.#held;
    this.#held = '';
    if (!this.#within) return { text: this.called ? held.trimEnd() : held, toolCalls: [] };
    this.#within = false;
    const call = this.#callOf(held);
    return call === undefined
      ? { text: this.#gap + begin + held, toolCalls: [] }
      : { text: '', toolCalls: [call] };
  }

  #callOf(body: string): ToolCallPiece | undefined {
    const call = inJson(body) ?? this.#inTags(body);
    if (call === undefined) return undefined;
    return { index: this.#count++, id: `call_${randomUUID().replaceAll('-', '')}`, ...call };
  }

  /** Qwen3-Coder's and GLM's forms, whose values are text and are typed by the function's schema. */
  #inTags(body: string): Call | undefined {
    const coder = /^\s*<function=([^>]+)>(.*?)(?:<\/function>\s*)?$/s.exec(body);
    const glm = /^\s*([\w.-]+)\s*((?:<arg_key>.*)?)$/s.exec(body);
    const [, name, rest] = coder ?? glm ?? [];
    if (name === undefined || rest === undefined) return undefined;
    const values = coder
      ? rest.matchAll(/<parameter=([^>]+)>\n?(.*?)\n?(?:<\/parameter>|(?=<parameter=)|$)/gs)
      : rest.matchAll(/<arg_key>(.*?)<\/arg_key>\s*<arg_value>(.*?)<\/arg_value>/gs);
    const types = this.#typesOf(name);
    const pairs = Array.from(values, ([, key = '', value = '']) => [
      key,
      types[key] === 'string' ? value : jsonOr(value),
    ]);
    return { name, arguments: JSON.stringify(Object.fromEntries(pairs)) };
  }

  /** The types that a function's schema gives its parameters. */
  #typesOf(name: string): Record<string, unknown> {
    const schema = this.#tools.find((tool) => tool.function.name === name)?.function.parameters;
    const { properties = {} } = (schema ?? {}) as {
      properties?: Record<string, { type?: unknown }>;
    };
    return Object.fromEntries(Object.entries(properties).map(([key, { type }]) => [key, type]));
  }
}

interface Call {
  name: string;
  arguments: string;
}

/** `{"name": …, "arguments": …}`, whose arguments may be an object or its text. */
function inJson(body: string): Call | undefined {
  const call = jsonOr(body) as { name?: unknown; arguments?: unknown; parameters?: unknown } | null;
  if (typeof call !== 'object' || typeof call?.name !== 'string') return undefined;
  const given = call.arguments ?? call.parameters ?? {};
  return { name: call.name, arguments: typeof given === 'string' ? given : JSON.stringify(given) };
}

/** What a text says in JSON, else the text. */
function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
