import { ConfigError, GroupError } from '../base/errors.js';
import type { ResolvedGroupOptions } from './options.js';
import { type Hello, rankNames } from './roster.js';

/** A meeting is how one rank meets the others. */
export interface Meeting {
  options: ResolvedGroupOptions;
  /** It gives up at this time of `performance.now()`. */
  deadline: number;
  /** Makes what the rank, reached by this address, says of itself. The first call makes the transport. */
  helloAt(address: string): Hello;
}

export function millisecondsLeft({ deadline }: Meeting): number {
  return Math.max(0, deadline - performance.now());
}

export function tooLate({ options }: Meeting, missing: readonly number[], why = ''): GroupError {
  return new GroupError(
    'ERR_MOE_TIMEOUT',
    `Expected ${options.size} ranks at ${options.store.text} within ${options.timeoutMs} ms, ` +
      `${rankNames(missing)} did not come${why}`,
  );
}

export function refused({ options }: Meeting, reason: string): ConfigError {
  return new ConfigError(`Rank 0 at ${options.store.text} refused rank ${options.rank}: ${reason}`);
}

/** Rank 0 answers with everybody's hello, or says why not. */
export type Answer = { welcome: Hello[] } | { refused: string } | { late: number[] };

/** Returns the hellos of an answer, in order of ranks; throws what a refusal means. */
export function hellosOf(meeting: Meeting, answer: Answer): Hello[] {
  if ('welcome' in answer) return answer.welcome;
  if ('late' in answer) throw tooLate(meeting, answer.late);
  throw refused(meeting, answer.refused);
}
