import { ConfigError } from '../errors.js';
import type { Exchange } from './options.js';
import type { Hello } from './roster.js';

/** How rows travel in a group, as rank 0 wants it. */
export interface ExchangeChoice {
  plan: Exchange;
  ranksPerNode: number;
}

/**
 * @param hellos of all ranks, in order
 * @throws `ConfigError` where rank 0 wants what cannot be, on every rank
 */
export function exchangeOf(hellos: readonly Hello[]): ExchangeChoice {
  const {
    exchange: plan,
    ranksPerNode = adjacentRanks(hellos),
    modelParallel,
  } = hellos[0] as Hello;
  const size = hellos.length;
  if (size % ranksPerNode !== 0)
    throw new ConfigError(
      `Expected \`ranksPerNode\` of rank 0 to be a divisor of \`size\` ${size}, got ${ranksPerNode}`,
    );
  if (plan === 'two-level' && modelParallel > 1)
    throw new ConfigError(
      "Expected `exchange` of rank 0 not to be 'two-level' with `modelParallel`: `groupWiseA2a` of a layer's config is for that",
    );
  if (plan === 'two-level' && (ranksPerNode === 1 || ranksPerNode === size))
    throw new ConfigError(
      `Expected several ranks on each of several machines for \`exchange\` 'two-level', got ${size} ranks, ${ranksPerNode} on each`,
    );
  return { plan, ranksPerNode };
}

/** How many ranks each machine has, where that is one number and they are adjacent; else 1. */
function adjacentRanks(hellos: readonly Hello[]): number {
  const machines = hellos.map(({ machine }) => machine);
  const count = machines.filter((machine) => machine === machines[0]).length;
  const regular =
    machines.every((machine, rank) => machine === machines[rank - (rank % count)]) &&
    new Set(machines).size * count === machines.length;
  return regular ? count : 1;
}
