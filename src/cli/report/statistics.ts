/** How a batch was routed, without drops, and what capacity and placement would make of it. */

/** Tokens that chose each expert, for each group of consecutive tokens that shares a capacity; 0 per group: one group. */
export function loadByGroup(
  expertIds: Int32Array,
  { expertNum, numExpertsChosen, tokensPerGroup }: Sizes,
): number[][] {
  const slotsPerGroup = (tokensPerGroup || Number.POSITIVE_INFINITY) * numExpertsChosen;
  const groups: number[][] = [];
  expertIds.forEach((expert, slot) => {
    const group = Number.isFinite(slotsPerGroup) ? Math.floor(slot / slotsPerGroup) : 0;
    groups[group] ??= new Array<number>(expertNum).fill(0);
    const load = groups[group];
    if (expert >= 0 && expert < expertNum) load[expert] = (load[expert] ?? 0) + 1;
  });
  return groups;
}

export interface Sizes {
  expertNum: number;
  numExpertsChosen: number;
  tokensPerGroup: number;
}

/** Tokens of each group, of `tokens` in all. */
export function groupSizes(tokens: number, tokensPerGroup: number): number[] {
  if (tokens === 0) return [];
  const size = tokensPerGroup || tokens;
  const count = Math.ceil(tokens / size);
  return Array.from({ length: count }, (_, i) => Math.min(size, tokens - i * size));
}

/** Slots per expert of `TopkRouterV2` for a group of tokens. */
export function capacity(
  tokens: number,
  factor: number,
  { expertNum, numExpertsChosen }: Sizes,
  multiple: number,
): number {
  const slots = Math.min(Math.ceil((numExpertsChosen * tokens * factor) / expertNum), tokens);
  return Math.ceil(slots / multiple) * multiple;
}

/**
 * (token, choice) pairs that `TopkRouterV2` drops at a capacity factor. Which ones depends on the order of slots; how
 * many does not.
 */
export function droppedAt(
  factor: number,
  groups: readonly (readonly number[])[],
  tokens: number,
  sizes: Sizes,
  multiple: number,
): number {
  let dropped = 0;
  groupSizes(tokens, sizes.tokensPerGroup).forEach((size, group) => {
    const slots = capacity(size, factor, sizes, multiple);
    for (const load of groups[group] ?? []) dropped += Math.max(0, load - slots);
  });
  return dropped;
}

/** Shannon entropy of the load, 1 when all experts serve as many tokens, 0 when one serves all. */
export function loadEntropy(expertLoad: readonly number[]): number {
  const served = expertLoad.reduce((sum, load) => sum + load, 0);
  if (served === 0 || expertLoad.length < 2) return expertLoad.length < 2 ? 1 : 0;
  const bits = expertLoad.map((load) =>
    load === 0 ? 0 : -(load / served) * Math.log(load / served),
  );
  return bits.reduce((sum, value) => sum + value, 0) / Math.log(expertLoad.length);
}

/** Share of a token's weight that its first choice has; NaN weights are left out. */
export function confidences(weights: Float32Array, numExpertsChosen: number): Float64Array {
  const shares: number[] = [];
  for (let slot = 0; slot < weights.length; slot += numExpertsChosen) {
    const chosen = weights.subarray(slot, slot + numExpertsChosen);
    const share = (chosen[0] ?? Number.NaN) / chosen.reduce((sum, weight) => sum + weight, 0);
    if (Number.isFinite(share)) shares.push(share);
  }
  return Float64Array.from(shares).sort();
}

/** The values below which a part of the sorted values lies, linearly between neighbours; null without values. */
export function quantile(sorted: Float64Array, part: number): number | null {
  if (sorted.length === 0) return null;
  const at = part * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)] ?? 0, sorted[Math.ceil(at)] ?? 0];
  return low + (high - low) * (at - Math.floor(at));
}

/** Numbers of ranks that share the experts evenly: the divisors of E from 2. */
export function rankCounts(expertNum: number): number[] {
  return Array.from({ length: Math.max(0, expertNum - 1) }, (_, i) => i + 2).filter(
    (ranks) => expertNum % ranks === 0,
  );
}
