import {
  expectArrayLike,
  expectInteger,
  expectMultiple,
  expectNumber,
  expectObject,
  unexpected,
} from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import { expectOptions, integer, other, type Rows } from '../base/rows.js';

/** A placement says which experts each set of ranks holds. The tokens of an expert in several sets take turns. */
export interface ExpertPlacement {
  /** Set r, which is rank r without model parallelism, holds the experts whose numbers `expertsOfRank[r]` has. */
  expertsOfRank: readonly (readonly number[])[];
}

/** `planPlacement` places experts for these. */
export interface PlacementOptions {
  /** Experts are placed on this many ranks, or sets of ranks with model parallelism: the group's `expertParallel`. */
  ranks: number;
  /**
   * All ranks together hold this many experts, replicas included: a multiple of `ranks`, of at least the number of
   * experts. It defaults to the least of those.
   */
  slots?: number | undefined;
  /** This many machines have as many consecutive ranks each. Replicas of an expert stay on one. It defaults to 1. */
  nodes?: number | undefined;
  /**
   * The router's `nGroup` is this; the experts of a group stay on one machine. It is a multiple of `nodes`, and defaults
   * to that.
   */
  groups?: number | undefined;
  /** Experts are placed like this now. It defaults to consecutive experts on each rank. */
  current?: ExpertPlacement | undefined;
}

/** A plan proposes where experts should be. */
export interface PlacementPlan extends ExpertPlacement {
  /** Each rank is to hold these experts. */
  expertsOfRank: number[][];
  /** This many ranks hold each expert, `[E]`. */
  replicas: number[];
  /** The busiest rank has this many times the mean load as experts are placed now; 1 is even. */
  imbalanceBefore: number;
  /** The busiest rank has this many times the mean load as the plan places them. */
  imbalanceAfter: number;
}

export const placementRows: Rows<PlacementOptions> = {
  ranks: { kind: integer(1), required: true },
  slots: { kind: integer(1) },
  nodes: { kind: integer(1) },
  groups: { kind: integer(1) },
  current: { kind: other(expectPlacement) },
};

/**
 * Plans which experts to replicate and where to put them so that ranks have even work. It is deterministic: ties go to
 * the lower expert and the lower rank. Every rank makes its layer by the same plan:
 * `MoELayer.load(path, { group, placement: plan })`.
 *
 * It is greedy, as DeepSeek's EPLB is: groups of experts are packed onto machines; then, on each machine, the expert
 * with the most tokens per replica gets another one until all slots are taken, and replicas are packed onto ranks from
 * the busiest down, each to the lightest rank with room. Beyond EPLB, replicas of an expert go to distinct ranks,
 * without which they would be of no use.
 *
 * @param load tokens that each expert served, `[E]`: `layer.totalLoad()`
 * @throws `ConfigError`
 */
export function planPlacement(load: ArrayLike<number>, options: PlacementOptions): PlacementPlan {
  expectOptions('planPlacement', options, placementRows);
  const weights = checkedLoad(load);
  const { ranks, slots, nodes, groups } = resolved(weights.length, options);
  const expertsOfRank: number[][] = [];
  for (const experts of packGroups(weights, groups, nodes)) {
    const own = replicate(experts, weights, slots / nodes, ranks / nodes);
    expertsOfRank.push(...packReplicas(own, ranks / nodes));
  }
  const replicas = weights.map(() => 0);
  for (const expert of expertsOfRank.flat()) replicas[expert] = (replicas[expert] as number) + 1;
  const before = options.current?.expertsOfRank ?? consecutive(weights.length, ranks);
  if (before.length !== ranks)
    throw new ConfigError(
      `Expected \`current.expertsOfRank\` to have a list for each of ${ranks} ranks, got ${before.length}`,
    );
  return {
    expertsOfRank,
    replicas,
    imbalanceBefore: imbalance(weights, before),
    imbalanceAfter: imbalance(weights, expertsOfRank),
  };
}

function checkedLoad(load: unknown): number[] {
  const expectation = 'the tokens of each expert';
  expectArrayLike('load', load, expectation);
  if (load.length === 0) throw unexpected('load', expectation, load);
  const weights: number[] = [];
  for (let expert = 0; expert < load.length; expert++) {
    const tokens = load[expert];
    expectNumber(`load[${expert}]`, tokens, { atLeast: 0 });
    weights.push(tokens);
  }
  return weights;
}

function resolved(experts: number, options: PlacementOptions) {
  const { ranks, nodes = 1 } = options;
  const { slots = Math.ceil(experts / ranks) * ranks, groups = nodes } = options;
  expectInteger('slots', slots, experts, experts * ranks);
  expectInteger('nodes', nodes, 1, ranks);
  expectInteger('groups', groups, 1, experts);
  expectMultiple('slots', slots, 'ranks', ranks);
  expectMultiple('ranks', ranks, 'nodes', nodes);
  expectMultiple('groups', groups, 'nodes', nodes);
  expectMultiple('the number of experts', experts, 'groups', groups);
  return { ranks, slots, nodes, groups };
}

/** Gives groups of experts, from the busiest down, to the lightest machine with room: the experts of each machine. */
function packGroups(weights: readonly number[], groups: number, nodes: number): number[][] {
  const size = weights.length / groups;
  const sums = Array.from({ length: groups }, (_, group) =>
    weights.slice(group * size, (group + 1) * size).reduce((sum, weight) => sum + weight, 0),
  );
  return pack(sums, nodes).map((packed) =>
    packed.flatMap((group) => Array.from({ length: size }, (_, index) => group * size + index)),
  );
}

interface Replica {
  expert: number;
  weight: number;
}

/** Gives each expert a slot, then every slot that is left to the expert with the most per replica. */
function replicate(
  experts: readonly number[],
  weights: readonly number[],
  slots: number,
  most: number,
): Replica[] {
  const counts = experts.map(() => 1);
  const order = experts.map((_, index) => index);
  while (order.length < slots) {
    let busiest = -1;
    let heaviest = -1;
    for (const [index, expert] of experts.entries()) {
      const count = counts[index] as number;
      const each = (weights[expert] as number) / count;
      if (each > heaviest && count < most) [busiest, heaviest] = [index, each];
    }
    counts[busiest] = (counts[busiest] as number) + 1;
    order.push(busiest);
  }
  return order.map((index) => {
    const expert = experts[index] as number;
    return { expert, weight: (weights[expert] as number) / (counts[index] as number) };
  });
}

function packReplicas(replicas: readonly Replica[], ranks: number): number[][] {
  const experts = replicas.map(({ expert }) => expert);
  const weights = replicas.map(({ weight }) => weight);
  return pack(weights, ranks, experts).map((packed) =>
    packed.map((index) => experts[index] as number),
  );
}

/**
 * Puts items into packs of one size, from the heaviest down, each into the lightest pack that has room; as many packs
 * as items keep their order. Items with the same label go to different packs where that is possible.
 */
function pack(weights: readonly number[], packs: number, labels?: readonly number[]): number[][] {
  const size = weights.length / packs;
  if (size === 1) return weights.map((_, index) => [index]);
  const packed: number[][] = Array.from({ length: packs }, () => []);
  const sums = packed.map(() => 0);
  const order = weights
    .map((_, index) => index)
    .sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b);
  for (const item of order) {
    const has = (index: number) =>
      labels !== undefined && packed[index]?.some((other) => labels[other] === labels[item]);
    const room = [...packed.keys()].filter((index) => (packed[index] as number[]).length < size);
    const apart = room.filter((index) => !has(index));
    const candidates = apart.length > 0 ? apart : room;
    const lightest = candidates.reduce((best, index) =>
      (sums[index] as number) < (sums[best] as number) ? index : best,
    );
    packed[lightest]?.push(item);
    sums[lightest] = (sums[lightest] as number) + (weights[item] as number);
  }
  return packed;
}

/** Gives experts to ranks in order, to the first ranks one more where ranks do not divide them. */
export function consecutive(experts: number, ranks: number): number[][] {
  let next = 0;
  return Array.from({ length: ranks }, (_, rank) => {
    const count = Math.floor(experts / ranks) + (rank < experts % ranks ? 1 : 0);
    return Array.from({ length: count }, () => next++);
  });
}

/** Divides the busiest rank's tokens by the mean; replicas share their expert's tokens evenly. No load at all is 1. */
function imbalance(
  weights: readonly number[],
  expertsOfRank: readonly (readonly number[])[],
): number {
  const replicas = weights.map(() => 0);
  for (const expert of expertsOfRank.flat()) replicas[expert] = (replicas[expert] ?? 0) + 1;
  const sums = expertsOfRank.map((experts) =>
    experts.reduce(
      (sum, expert) => sum + (weights[expert] ?? 0) / Math.max(1, replicas[expert] as number),
      0,
    ),
  );
  const mean = sums.reduce((sum, tokens) => sum + tokens, 0) / sums.length;
  return mean > 0 ? Math.max(...sums) / mean : 1;
}

/** Throws `ConfigError` unless `value` has a list of numbers for each rank. */
export function expectPlacement(name: string, value: unknown): asserts value is ExpertPlacement {
  expectObject(name, value);
  const lists: unknown = value['expertsOfRank'];
  if (!Array.isArray(lists) || !lists.every((list) => Array.isArray(list)))
    throw unexpected(`${name}.expertsOfRank`, 'a list of experts for each rank', lists);
  for (const expert of lists.flat())
    if (!Number.isSafeInteger(expert))
      throw unexpected(`${name}.expertsOfRank`, 'numbers of experts', expert);
}
