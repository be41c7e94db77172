import { randomUUID } from 'node:crypto';
import type { Piece, TokenLogprob, ToolCallPiece } from '../model/types.js';
import { type AnswerForm, endOf, eventOf, type Head, headOf, type UsageBody } from './answers.js';
import type { Answer, LogprobLists } from './generation.js';
import type { Wanted } from './wanted.js';

/** Answers of `/v1/chat/completions`. */
export class ChatAnswer implements AnswerForm {
  readonly #wanted: Wanted;
  readonly #head: Head;
  /** Of tokens whose text is held back: they go with the next event of their answer. */
  readonly #held: TokenLogprob[][];

  constructor(wanted: Wanted, model: string) {
    this.#wanted = wanted;
    this.#head = headOf(`chatcmpl-${randomUUID()}`, 'chat.completion', model, wanted);
    this.#held = Array.from({ length: wanted.n }, () => []);
  }

  opening(): object[] {
    const delta = { role: 'assistant', content: '' };
    return this.#held.map((_, index) => this.#event(index, delta, null, { finish_reason: null }));
  }

  piece(index: number, piece: Piece): object[] {
    const held = this.#held[index] as TokenLogprob[];
    if (piece.logprobs !== undefined) held.push(...piece.logprobs);
    const deltas: object[] = [];
    if (piece.reasoning !== '') deltas.push({ reasoning_content: piece.reasoning });
    if (piece.text !== '') deltas.push({ content: piece.text });
    if (piece.toolCalls.length > 0) deltas.push({ tool_calls: piece.toolCalls.map(toolCallDelta) });
    if (piece.finishReason !== undefined) deltas.push({});
    return deltas.map((delta, at) => {
      const last = at === deltas.length - 1;
      return this.#event(
        index,
        delta,
        this.logprobs(index, held.splice(0)),
        last ? endOf(piece) : none,
      );
    });
  }

  usage(usage: UsageBody): object {
    return { ...this.#chunkHead(), choices: [], usage };
  }

  whole(answers: readonly Answer[], usage: UsageBody): object {
    const choices = answers.map(({ text, reasoning, toolCalls, logprobs, last }, index) => ({
      index,
      message: {
        role: 'assistant',
        content: text === '' && toolCalls.length > 0 ? null : text,
        refusal: null,
        ...(reasoning !== '' && { reasoning_content: reasoning }),
        ...(toolCalls.length > 0 && { tool_calls: toolCalls }),
      },
      logprobs,
      ...endOf(last),
    }));
    return { ...this.#head, choices, usage };
  }

  logprobs(_index: number, of: readonly TokenLogprob[]): LogprobLists {
    if (!this.#wanted.logprobs) return null;
    const entry = ({ token, text, bytes, logprob }: Omit<TokenLogprob, 'top'>) => ({
      token: this.#wanted.tokensAsIds ? `token_id:${token}` : text,
      logprob,
      bytes: [...bytes],
    });
    const content = of.map((one) => ({ ...entry(one), top_logprobs: one.top.map(entry) }));
    return { content, refusal: null };
  }

  #event(index: number, delta: object, logprobs: object | null, end: object): object {
    return eventOf(this.#chunkHead(), this.#wanted, [{ index, delta, logprobs, ...end }]);
  }

  #chunkHead(): Head {
    return { ...this.#head, object: 'chat.completion.chunk' };
  }
}

const none = { finish_reason: null };

const toolCallDelta = ({ index, id, name, arguments: text }: ToolCallPiece): object => ({
  index,
  ...(id !== undefined && { id, type: 'function' }),
  function: { ...(name !== undefined && { name }), arguments: text },
});
