// From the tokens of a sequence to the pieces of an answer.
import { type CallHash, callFormOf } from '../text/call_forms.js';
import type { Channels, ChannelText } from '../text/channel.js';
import { channelsOf } from '../text/channels.js';
import { StopStrings } from '../text/stop_strings.js';
import { ToolCalls, tellingCalls } from '../text/tool_calls.js';
import type { TextTokenizer, Tool } from '../text/types.js';
import type { SampledToken } from './step.js';
import type { FinishReason, TokenLogprob } from './types.js';

/** What a token added. */
export interface Added extends ChannelText {
  /** Why the answer ends with it. */
  finishReason?: FinishReason;
  stopReason?: string | number;
}

export interface AnswerOptions {
  /** Absent where a checkpoint has none: an answer is then of tokens alone. */
  readonly tokenizer: TextTokenizer | undefined;
  /** The source of the chat template, where the prompt was a chat. */
  readonly template: string | undefined;
  readonly prompt: ArrayLike<number>;
  /** What ids of calls are made of. */
  readonly callHash: CallHash;
  /** Functions that the answer may call. */
  readonly tools: readonly Tool[];
  readonly stop: readonly string[];
  readonly endTokens: readonly number[];
  readonly maxTokens: number;
  readonly minTokens: number;
}

/** Follows one answer to its end. */
export class Answer {
  readonly #options: AnswerOptions;
  readonly #channels: Channels | undefined;
  readonly #stops: StopStrings;
  readonly #calls: ToolCalls | undefined;
  /** An answer to a chat begins a text, and so without the space that stands for a beginning. */
  #stripsSpace: boolean;
  #called = false;
  tokens = 0;
  reasoningTokens = 0;

  constructor(options: AnswerOptions) {
    this.#options = options;
    const { tokenizer, template, prompt, stop, tools, callHash } = options;
    const form = tools.length > 0 ? callFormOf(template ?? '') : undefined;
    this.#channels =
      tokenizer && channelsOf(tellingCalls(tokenizer, form), template, prompt, callHash);
    this.#stripsSpace = template !== undefined && tokenizer?.stripsFirstSpace === true;
    this.#stops = new StopStrings(stop);
    if (form !== undefined) this.#calls = new ToolCalls(form, tools, callHash);
  }

  push(token: number): Added {
    const added = this.#push(token);
    const last = added.finishReason !== undefined;
    const parts = this.#calls === undefined ? [added] : [this.#calls.push(added.text)];
    if (last && this.#calls !== undefined) parts.push(this.#calls.end());
    const toolCalls = parts.flatMap((part) => part.toolCalls);
    this.#called ||= toolCalls.length > 0;
    return {
      ...added,
      text: parts.map(({ text }) => text).join(''),
      toolCalls,
      ...(this.#called && added.finishReason === 'stop' && { finishReason: 'tool_calls' }),
    };
  }

  #push(token: number): Added {
    const { endTokens, maxTokens } = this.#options;
    this.tokens += 1;
    if (this.#channels?.reasons) this.reasoningTokens += 1;
    if (endTokens.includes(token)) return this.#last(nothing, 'stop', token);
    const { text, ...channels } = this.#begun(this.#channels?.push(token) ?? nothing);
    let found = this.#stops.push(text);
    let passed = '';
    while (found.stop !== undefined && this.tokens <= this.#options.minTokens) {
      passed += found.text + found.stop;
      found = this.#stops.push(found.rest ?? '');
    }
    const added = { ...channels, text: passed + found.text };
    if (found.stop !== undefined) return { ...added, finishReason: 'stop', stopReason: found.stop };
    return this.tokens >= maxTokens ? this.#last(added, 'length') : added;
  }

  #begun(added: ChannelText): ChannelText {
    if (!this.#stripsSpace || added.text + added.reasoning === '') return added;
    this.#stripsSpace = false;
    const without = (text: string) => text.replace(/^ /, '');
    return { ...added, text: without(added.text), reasoning: without(added.reasoning) };
  }

  #last(added: ChannelText, finishReason: FinishReason, stopReason?: string | number): Added {
    const left = this.#begun(this.#channels?.end(finishReason === 'length') ?? nothing);
    const found = this.#stops.push(left.text);
    const all = {
      text: added.text + found.text,
      reasoning: added.reasoning + left.reasoning,
      toolCalls: [...added.toolCalls, ...left.toolCalls],
    };
    if (found.stop !== undefined) return { ...all, finishReason: 'stop', stopReason: found.stop };
    return {
      ...all,
      text: all.text + this.#stops.end(),
      finishReason,
      ...(stopReason !== undefined && { stopReason }),
    };
  }
}

const nothing: ChannelText = { text: '', reasoning: '', toolCalls: [] };

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Log-probabilities with the text of each token. */
export function logprobOf(
  sampled: SampledToken,
  tokenizer: TextTokenizer | undefined,
): TokenLogprob {
  const told = (token: number, logprob: number) => {
    const special = tokenizer?.special(token);
    const bytes =
      special === undefined
        ? (tokenizer?.bytes(token) ?? new Uint8Array())
        : encoder.encode(special);
    return { token, text: decoder.decode(bytes), bytes, logprob };
  };
  const top = (sampled.top ?? []).map(({ token, logprob }) => told(token, logprob));
  return { ...told(sampled.token, sampled.logprob as number), top };
}
