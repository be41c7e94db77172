// One contestant at a time, and what its times say of it.
import { setTimeout as sleep } from 'node:timers/promises';
import { spread } from '../../dist/cli/bench/samples.js';

/** Contestants take turns this often where nothing else is said, because a machine's speed drifts. */
const usualRounds = 5;

/** Before a turn, so that threads that were just stopped, or spin for some microseconds yet, do not disturb. */
const pauseMilliseconds = 20;

/** A contestant that took this many times longer in its turns than alone was disturbed: its ratio says nothing. */
export const disturbedFrom = 1.3;

/**
 * What takes turns: `resume()` lets its threads run, and after `pause()` none of them does; `time(tokens, seconds)` times
 * calls for about so long, at least one, and gives milliseconds.
 */

/** Lets one contestant run while every other is stopped. Before and after, all are. */
export async function only(contestant, signal, use) {
  signal.throwIfAborted();
  await contestant.resume();
  try {
    await sleep(pauseMilliseconds, undefined, { signal });
    return await use(contestant);
  } finally {
    await contestant.pause();
  }
}

/** One turn: a call that is not counted brings caches and clock back, then calls are timed. */
function turn(contestant, tokens, seconds, signal) {
  return only(contestant, signal, async () => {
    await contestant.time(tokens, 0);
    return contestant.time(tokens, seconds);
  });
}

/** The median call of a contestant, in milliseconds, on a machine that it has for itself. */
export async function timeAlone(contestant, tokens, seconds, signal, rounds = usualRounds) {
  return median(await turn(contestant, tokens, seconds / rounds, signal));
}

/** Milliseconds of every contestant, in each round. */
export async function takeTurns(contestants, tokens, seconds, signal, rounds = usualRounds) {
  const turns = contestants.map(() => []);
  for (let round = 0; round < rounds; round++)
    for (const [i, contestant] of contestants.entries())
      turns[i].push(await turn(contestant, tokens, seconds / rounds, signal));
  return turns;
}

/** How many times longer than alone a contestant took in its turns. */
export const slowdown = ({ alone, turns }) => median(turns.map(median)) / alone;

/**
 * The peer's time over ours, the median over the rounds: above 1, ours is faster. Null where either was disturbed.
 * Each is `{ alone, turns }`.
 */
export function ratioOf(ours, theirs) {
  const undisturbed = [ours, theirs].every((one) => slowdown(one) <= disturbedFrom);
  const ratio = median(
    theirs.turns.map((times, round) => median(times) / median(ours.turns[round])),
  );
  return undisturbed ? ratio : null;
}

function median(samples) {
  return spread(samples).median;
}
