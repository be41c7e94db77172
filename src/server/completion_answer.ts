import { randomUUID } from 'node:crypto';
import type { Piece, TokenLogprob } from '../model/types.js';
import { type AnswerForm, endOf, eventOf, type Head, headOf, type UsageBody } from './answers.js';
import type { Echo, PromptToken } from './echo.js';
import type { Answer, LogprobLists } from './generation.js';
import { GrowingLists } from './growing_lists.js';
import type { Wanted } from './wanted.js';

/** Answers of `/v1/completions`. */
export class CompletionAnswer implements AnswerForm {
  readonly #wanted: Wanted;
  readonly #head: Head;
  /** What each answer begins with: its prompt or nothing. */
  readonly #before: readonly Echo[];
  readonly #held: TokenLogprob[][];
  /** Characters of each answer's tokens so far. */
  readonly #offsets: number[];

  constructor(wanted: Wanted, model: string, before: readonly Echo[]) {
    this.#wanted = wanted;
    this.#head = headOf(`cmpl-${randomUUID()}`, 'text_completion', model, wanted);
    this.#before = before;
    this.#held = before.map(() => []);
    this.#offsets = before.map(({ text, logprobs }) =>
      logprobs === undefined ? characters(text) : endOfText(logprobs, 0),
    );
  }

  opening(): object[] {
    return this.#before.flatMap(({ text, logprobs }, index) =>
      text === '' && logprobs === undefined
        ? []
        : [
            this.#event(index, text, logprobs ? this.#lists(logprobs, 0) : null, {
              finish_reason: null,
            }),
          ],
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
    const choices = answers.map((answer, index) => {
      const { text, logprobs } = this.#before[index] as Echo;
      return {
        index,
        text: text + textOf(answer),
        logprobs:
          logprobs === undefined
            ? answer.logprobs
            : GrowingLists.of(this.#lists(logprobs, 0), answer.logprobs),
        ...endOf(answer.last),
      };
    });
    return { ...this.#head, choices, usage };
  }

  #event(index: number, text: string, logprobs: object | null, end: object): object {
    return eventOf(this.#head, this.#wanted, [{ index, text, logprobs, ...end }]);
  }

  /** Of what a piece of an answer adds. */
  logprobs(index: number, of: readonly TokenLogprob[]): LogprobLists {
    const from = this.#offsets[index] as number;
    this.#offsets[index] = endOfText(of, from);
    return this.#lists(of, from);
  }

  /** Lists of tokens, their log-probabilities, those of the likeliest, and where each begins in the text. */
  #lists(of: readonly Told[], from: number): LogprobLists {
    if (this.#wanted.options.logprobs === undefined) return null;
    let offset = from;
    const name = ({ token, text }: { token: number; text: string }) =>
      this.#wanted.tokensAsIds ? `token_id:${token}` : text;
    return {
      tokens: of.map(name),
      token_logprobs: of.map(({ logprob }) => logprob),
      top_logprobs: of.map((one) => {
        if (one.logprob === null) return null;
        const top = 'top' in one ? one.top : [];
        return Object.fromEntries([...top, one].map((each) => [name(each), each.logprob]));
      }),
      text_offset: of.map((one) => {
        const begin = offset;
        offset = endOfText([one], begin);
        return begin;
      }),
    };
  }
}

type Told = TokenLogprob | PromptToken;

/** Where tokens end that begin there. */
const endOfText = (of: readonly Told[], from: number): number =>
  of.reduce((sum, one) => sum + characters('shown' in one ? one.shown : one.text), from);

/** Completions have no place of their own for reasoning. */
const textOf = ({ reasoning, text }: { reasoning: string; text: string }): string =>
  reasoning + text;

/** As clients count them: half of a pair is none. */
const characters = (text: string): number => [...text].length;
