import { randomUUID } from 'node:crypto';
import type { Piece, TokenLogprob } from '../model/types.js';
import { type AnswerForm, endOf, eventOf, type Head, headOf, type UsageBody } from './answers.js';
import type { Answer, LogprobLists } from './generation.js';
import type { Wanted } from './wanted.js';

/** Answers of `/v1/completions`. */
export class CompletionAnswer implements AnswerForm {
  readonly #wanted: Wanted;
  readonly #head: Head;
  /** What each answer begins with: its prompt or nothing. */
  readonly #before: readonly string[];
  readonly #held: TokenLogprob[][];
  /** Characters of each answer's tokens so far. */
  readonly #offsets: number[];

  constructor(wanted: Wanted, model: string, before: readonly string[]) {
    this.#wanted = wanted;
    this.#head = headOf(`cmpl-${randomUUID()}`, 'text_completion', model, wanted);
    this.#before = before;
    this.#held = before.map(() => []);
    this.#offsets = before.map((text) => characters(text));
  }

  opening(): object[] {
    return this.#before.flatMap((text, index) =>
      text === '' ? [] : [this.#event(index, text, null, { finish_reason: null })],
    );
  }

  piece(index: number, piece: Piece): object[] {
    const held = this.#held[index] as TokenLogprob[];
    if (piece.logprobs !== undefined) held.push(...piece.logprobs);
    const text = textOf(piece);
    if (text === '' && piece.finishReason === undefined) return [];
    return [this.#event(index, text, this.logprobs(index, held.splice(0)), endOf(piece))];
  }

  usage(usage: UsageBody): object {
    return { ...this.#head, choices: [], usage };
  }

  whole(answers: readonly Answer[], usage: UsageBody): object {
    const choices = answers.map((answer, index) => ({
      index,
      text: this.#before[index] + textOf(answer),
      logprobs: answer.logprobs,
      ...endOf(answer.last),
    }));
    return { ...this.#head, choices, usage };
  }

  #event(index: number, text: string, logprobs: object | null, end: object): object {
    return eventOf(this.#head, this.#wanted, [{ index, text, logprobs, ...end }]);
  }

  /** Lists of tokens, their log-probabilities, those of the likeliest, and where each begins in the text. */
  logprobs(index: number, of: readonly TokenLogprob[]): LogprobLists {
    if (this.#wanted.options.logprobs === undefined) return null;
    const name = ({ token, text }: { token: number; text: string }) =>
      this.#wanted.tokensAsIds ? `token_id:${token}` : text;
    return {
      tokens: of.map(name),
      token_logprobs: of.map(({ logprob }) => logprob),
      top_logprobs: of.map((one) =>
        Object.fromEntries([...one.top, one].map((each) => [name(each), each.logprob])),
      ),
      text_offset: of.map(({ text }) => {
        const offset = this.#offsets[index] as number;
        this.#offsets[index] = offset + characters(text);
        return offset;
      }),
    };
  }
}

/** Completions have no place of their own for reasoning. */
const textOf = ({ reasoning, text }: { reasoning: string; text: string }): string =>
  reasoning + text;

/** As clients count them: half of a pair is none. */
const characters = (text: string): number => [...text].length;
