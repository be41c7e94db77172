import { ConfigError, GroupError } from '../base/errors.js';
import type { ResolvedGroupOptions } from './options.js';
import { type Hello, rankNames } from './roster.js';

/** How one rank meets the others. */
export interface Meeting {
  options: ResolvedGroupOptions;
  /** When it gives up, in milliseconds of `performance.now()`. */
  deadline: number;
  /** What the rank says of itself, reached by this address. Makes the transport when it is first asked. */
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

/** What rank 0 answers: everybody, or why not. */
export type Answer = { welcome: Hello[] } | { refused: string } | { late: number[] };

/** The hellos of an answer, in order of ranks; throws what a refusal means. */
export function hellosOf(meeting: Meeting, answer: Answer): Hello[] {
  if ('welcome' in answer) return answer.welcome;
  if ('late' in answer) throw tooLate(meeting, answer.late);
  throw refused(meeting, answer.refused);
}
