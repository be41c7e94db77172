import type { Piece, TokenLogprob } from '../model/types.js';
import type { Answer, LogprobLists, usageOf } from './generation.js';
import type { Wanted } from './wanted.js';

export type UsageBody = ReturnType<typeof usageOf>;

/** How answers to a route look, streamed and whole. */
export interface AnswerForm {
  /** What streams begin with. */
  opening(): object[];
  /** What a piece of an answer becomes; nothing where it shows nothing. */
  piece(index: number, piece: Piece): object[];
  /** The event of a stream that has the usage. */
  usage(usage: UsageBody): object;
  /** Log-probabilities of tokens that follow those of the calls before; null where nobody asked for them. */
  logprobs(index: number, of: readonly TokenLogprob[]): LogprobLists;
  whole(answers: readonly Answer[], usage: UsageBody): object;
}

/** What all documents of one answer have in common. */
export interface Head {
  id: string;
  object: string;
  created: number;
  model: string;
  /** The seed of all answers, for whoever wants them again. */
  seed: number;
}

export const headOf = (id: string, object: string, model: string, { options }: Wanted): Head => ({
  id,
  object,
  created: Math.floor(Date.now() / 1000),
  model,
  seed: Number(BigInt.asIntN(64, BigInt(options.seed ?? 0))),
});

/** An event of a stream. Where the usage comes in an event of its own, the others say that they have none. */
export const eventOf = (
  head: Head,
  { usageInStream }: Wanted,
  choices: readonly object[],
): object => ({
  ...head,
  choices,
  ...(usageInStream && { usage: null }),
});

/** The part of a last piece that both routes show. */
export const endOf = ({ finishReason, stopReason }: Piece): object => ({
  finish_reason: finishReason ?? null,
  ...(finishReason !== undefined && { stop_reason: stopReason ?? null }),
});
