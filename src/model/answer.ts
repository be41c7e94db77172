// From the tokens of a sequence to the pieces of an answer.
import { type Channels, type ChannelText, channelsOf } from '../text/channels.js';
import { StopStrings } from '../text/stop_strings.js';
import { type CalledText, ToolCalls } from '../text/tool_calls.js';
import type { TextTokenizer, Tool } from '../text/types.js';
import type { SampledToken } from './scheduler.js';
import type { FinishReason, TokenLogprob } from './types.js';

/** What a token added. */
export interface Added extends ChannelText, CalledText {
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
  tokens = 0;
  reasoningTokens = 0;

  constructor(options: AnswerOptions) {
    this.#options = options;
    const { tokenizer, template, prompt, stop, tools } = options;
    this.#channels = tokenizer && channelsOf(tokenizer, template, prompt);
    this.#stops = new StopStrings(stop);
    if (tools.length > 0) this.#calls = new ToolCalls(tools);
  }

  push(token: number): Added {
    const added = this.#push(token);
    if (this.#calls === undefined) return { ...added, toolCalls: [] };
    const { text, toolCalls } = this.#calls.push(added.text);
    if (added.finishReason === undefined) return { ...added, text, toolCalls };
    const left = this.#calls.end();
    return {
      ...added,
      text: text + left.text,
      toolCalls: [...toolCalls, ...left.toolCalls],
      finishReason:
        this.#calls.called && added.finishReason === 'stop' ? 'tool_calls' : added.finishReason,
    };
  }

  #push(token: number): Omit<Added, 'toolCalls'> {
    const { endTokens, maxTokens } = this.#options;
    this.tokens += 1;
    if (this.#channels?.reasons) this.reasoningTokens += 1;
    if (endTokens.includes(token)) return this.#last({ text: '', reasoning: '' }, 'stop', token);
    const { text, reasoning } = this.#channels?.push(token) ?? { text: '', reasoning: '' };
    const found = this.#stops.push(text);
    if (found.stop !== undefined && this.tokens > this.#options.minTokens)
      return { text: found.text, reasoning, finishReason: 'stop', stopReason: found.stop };
    const added = { text: found.text + (found.stop ?? ''), reasoning };
    return this.tokens >= maxTokens ? this.#last(added, 'length') : added;
  }

  #last(
    added: ChannelText,
    finishReason: FinishReason,
    stopReason?: string | number,
  ): Omit<Added, 'toolCalls'> {
    const left = this.#channels?.end() ?? { text: '', reasoning: '' };
    const found = this.#stops.push(left.text);
    const reasoning = added.reasoning + left.reasoning;
    if (found.stop !== undefined)
      return {
        text: added.text + found.text,
        reasoning,
        finishReason: 'stop',
        stopReason: found.stop,
      };
    return {
      text: added.text + found.text + this.#stops.end(),
      reasoning,
      finishReason,
      ...(stopReason !== undefined && { stopReason }),
    };
  }
}

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
        : new TextEncoder().encode(special);
    return { token, text: new TextDecoder().decode(bytes), bytes, logprob };
  };
  const top = (sampled.top ?? []).map(({ token, logprob }) => told(token, logprob));
  return { ...told(sampled.token, sampled.logprob as number), top };
}
