// Routing in float64, as MindFormers' specification says it: dense tables, no shortcuts.
import type { MoEConfig } from '../../src/index.js';

export interface ReferenceRouting {
  /** `[T][K]`, -1 where the choice was dropped. */
  expertIds: number[][];
  /** `[T][K]`. */
  weights: number[][];
  expertLoad: number[];
  droppedChoices: number;
  /** null when dropless. */
  capacity: number | null;
  auxLoss: number;
  zLoss: number;
  /** The smallest gap between scores that decided, as a share of the larger: rounding decides near ties. */
  margin: number;
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

export function softmax(logits: readonly number[]): number[] {
  const max = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - max));
  const total = sum(powers);
  return powers.map((power) => power / total);
}

function argmax(values: readonly number[]): number {
  return values.reduce(
    (best, value, index) => (value > (values[best] as number) ? index : best),
    0,
  );
}

/** The K largest, the lower index first among equals. */
function topK(values: readonly number[], k: number): number[] {
  const order = values.map((_, index) => index);
  order.sort((a, b) => (values[b] as number) - (values[a] as number) || a - b);
  return order.slice(0, k);
}

/** The gap between neighbours down to the first value that a top-k leaves, as a share of the larger one. */
function marginOf(values: readonly number[], k: number): number {
  const sorted = [...values].sort((a, b) => b - a).slice(0, k + 1);
  return Math.min(
    ...sorted.slice(1).map((value, i) => 1 - value / (sorted[i] as number)),
    Infinity,
  );
}

/** What an expert's weight is multiplied by, and the choices where they are given. */
export interface Beside {
  expertScale?: readonly number[];
  given?: readonly (readonly number[])[];
}

const capped = (config: MoEConfig, row: readonly number[]) =>
  config.logitSoftCap === 0
    ? [...row]
    : row.map((logit) => config.logitSoftCap * Math.tanh(logit / config.logitSoftCap));

/** logits: `[T][E + zeroExpertNum]`, finite. */
export function routeReference(
  config: MoEConfig,
  uncapped: readonly number[][],
  beside: Beside = {},
): ReferenceRouting {
  const logits = uncapped.map((row) => capped(config, row));
  const groupSize =
    (!config.auxLossTypes?.includes('device') && config.expertGroupSize) ||
    Math.max(logits.length, 1);
  const groups: number[][][] = [];
  const parts: GroupRouting[] = [];
  for (let start = 0; start < logits.length; start += groupSize) {
    const group = logits.slice(start, start + groupSize);
    const given = beside.given?.slice(start, start + groupSize);
    groups.push(group);
    parts.push(
      config.routingPolicy === 'TopkRouterV1'
        ? routeV1(config, group)
        : routeV2(config, group, { ...beside, ...(given && { given }) }),
    );
  }
  const mean = (of: (part: GroupRouting) => number) =>
    parts.length === 0 ? 0 : sum(parts.map(of)) / parts.length;
  return {
    expertIds: parts.flatMap((part) => part.expertIds),
    weights: parts.flatMap((part) => part.weights),
    expertLoad: Array.from({ length: config.expertNum }, (_, expert) =>
      sum(parts.map((part) => part.expertIds.flat().filter((id) => id === expert).length)),
    ),
    droppedChoices: sum(parts.map((part) => part.expertIds.flat().filter((id) => id < 0).length)),
    capacity: capacityOf(config, groups[0]?.length ?? 0),
    auxLoss: mean((part) => part.auxLoss),
    zLoss: zLossOf(config, logits),
    margin: Math.min(Infinity, ...parts.map((part) => part.margin)),
  };
}

interface GroupRouting {
  expertIds: number[][];
  weights: number[][];
  auxLoss: number;
  margin: number;
}

function capacityOf(config: MoEConfig, tokens: number): number | null {
  const { numExpertsChosen: K, capacityFactor, expertNum: E, expertCapacity } = config;
  if (expertCapacity !== null) return expertCapacity;
  const slots = Math.ceil((K * tokens * capacityFactor) / E);
  if (config.routingPolicy === 'TopkRouterV1') return slots;
  if (capacityFactor <= 0) return null;
  const multiple = config.compCommParallel ? config.compCommParallelDegree : 1;
  return Math.ceil(Math.min(slots, tokens) / multiple) * multiple;
}

function routeV1(config: MoEConfig, logits: readonly number[][]): GroupRouting {
  const { expertNum: E, numExpertsChosen: K } = config;
  const capacity = capacityOf(config, logits.length) as number;
  const probabilities = logits.map(softmax);
  const kept = logits.map(() => new Array<number>(E).fill(0));
  const count = new Array<number>(E).fill(0);
  const expertIds = logits.map(() => [] as number[]);
  const weights = logits.map(() => [] as number[]);
  let loss = 0;
  let margin = Infinity;
  for (let round = 0; round < K; round++) {
    const left = probabilities.map((p, t) =>
      p.map((value, e) => value * (1 - (kept[t]?.[e] as number))),
    );
    const choices = left.map(argmax);
    for (const values of left) margin = Math.min(margin, marginOf(values, 1));
    const shares = left.map((p) => p.map((value) => value / (sum(p) + 1e-9)));
    for (let e = 0; e < E; e++) {
      const votes = choices.filter((choice) => choice === e).length / logits.length;
      loss += votes * (sum(shares.map((share) => share[e] as number)) / logits.length) * E;
    }
    const before = [...count];
    const seen = new Array<number>(E).fill(0);
    choices.forEach((e, t) => {
      const position = (before[e] as number) + (seen[e] as number);
      seen[e] = (seen[e] as number) + 1;
      const keep = position < capacity;
      if (keep) {
        (kept[t] as number[])[e] = 1;
        count[e] = (count[e] as number) + 1;
      }
      expertIds[t]?.push(keep ? e : -1);
      weights[t]?.push(keep ? (left[t]?.[e] as number) : 0);
    });
  }
  const normalised = weights.map((w) => w.map((value) => value / (sum(w) + 1e-9)));
  return { expertIds, weights: normalised, auxLoss: config.auxLossFactor * loss, margin };
}

function scoresOf(config: MoEConfig, row: readonly number[]): number[] {
  if (config.scoreFunction === 'sqrtsoftplus')
    return row.map((logit) =>
      Math.sqrt(Math.max(logit, 0) + Math.log1p(Math.exp(-Math.abs(logit)))),
    );
  return config.useGatingSigmoid ? row.map((logit) => 1 / (1 + Math.exp(-logit))) : softmax(row);
}

/** The softmax at the best logit left over those close to it. */
function mixerWeight(
  config: MoEConfig,
  row: readonly number[],
  best: number,
  left: number[],
): number {
  const most = row[best] as number;
  const close = left.filter((e) => {
    const logit = row[e] as number;
    return !((most - logit) / Math.max(Math.abs(logit), most) > 2 * config.sparsemixerEpsilon);
  });
  return 1 / sum(close.map((e) => Math.exp((row[e] as number) - most)));
}

function routeV2(
  config: MoEConfig,
  logits: readonly number[][],
  { expertScale, given }: Beside,
): GroupRouting {
  const { expertNum: E, numExpertsChosen: K, alwaysChosenExpertNum: always } = config;
  const mixes = config.scoreFunction === 'sparsemixer';
  const scores = logits.map((row) => scoresOf(config, row));
  let margin = Infinity;
  const chosen = scores.map((row, t) => {
    if (given) return [...(given[t] as readonly number[])];
    const all = mixes || config.chooseByLogit ? (logits[t] as number[]) : row;
    const ranks = config.topkMethod === 'greedy' ? all : maskGroups(config, all);
    const among = ranks.slice(0, ranks.length - always);
    const positive = all === row ? among : among.map((rank) => rank - Math.min(...among) + 1);
    margin = Math.min(margin, marginOf(positive, K - always));
    const last = Array.from({ length: always }, (_, i) => among.length + i);
    return [...topK(among, K - always), ...last];
  });
  const weights = chosen.map((experts, t) => {
    const row = logits[t] as number[];
    const everyone = row.map((_, e) => e);
    const raw = experts.map((expert, choice) =>
      mixes
        ? mixerWeight(
            config,
            row,
            expert,
            choice === 0 ? everyone : everyone.filter((e) => e !== experts[0]),
          )
        : (scores[t]?.[expert] as number),
    );
    const normalises = config.normTopkProb && (K > 1 || config.normTopkSingle);
    const divisor = normalises ? sum(raw) + config.normTopkEpsilon : 1;
    return raw.map(
      (weight, choice) =>
        (weight / divisor) *
        config.routedScalingFactor *
        (expertScale?.[experts[choice] as number] ?? 1),
    );
  });

  const expertIds = chosen.map((experts) => [...experts]);
  const capacity = capacityOf(config, logits.length);
  if (capacity !== null) {
    const slots = chosen.flatMap((_, t) =>
      Array.from({ length: K }, (_, choice) => [t, choice] as const),
    );
    if (!config.enableSdrop) slots.sort((a, b) => a[1] - b[1] || a[0] - b[0]);
    const count = new Array<number>(E).fill(0);
    for (const [t, choice] of slots) {
      const expert = chosen[t]?.[choice] as number;
      if (expert >= E) continue;
      if ((count[expert] as number) < capacity) {
        count[expert] = (count[expert] as number) + 1;
      } else {
        (expertIds[t] as number[])[choice] = -1;
        (weights[t] as number[])[choice] = 0;
      }
    }
  }
  return { expertIds, weights, auxLoss: auxLossV2(config, scores, chosen), margin };
}

/** factor * the mean over all tokens of logsumexp^2. */
function zLossOf(config: MoEConfig, logits: readonly number[][]): number {
  const squares = logits.map((row) => Math.log(sum(row.map(Math.exp))) ** 2);
  return squares.length === 0 ? 0 : (config.zLossFactor * sum(squares)) / squares.length;
}

/** Scores with those of all but the best groups set to 0. */
function maskGroups(config: MoEConfig, row: readonly number[]): number[] {
  const groups = config.nGroup as number;
  const size = config.expertNum / groups;
  const groupScores = Array.from({ length: groups }, (_, group) => {
    const sorted = row.slice(group * size, (group + 1) * size).sort((a, b) => b - a);
    return config.topkMethod === 'noaux_tc' ? sum(sorted.slice(0, 2)) : (sorted[0] as number);
  });
  const smallest = [...groupScores].sort((a, b) => b - a)[
    (config.topkGroup as number) - 1
  ] as number;
  return row.map((score, e) =>
    (groupScores[Math.floor(e / size)] as number) >= smallest ? score : 0,
  );
}

/** factor * E^2 * the mean over groups of experts of (mean score * share of the choices). */
function auxLossV2(
  config: MoEConfig,
  scores: readonly number[][],
  chosen: readonly number[][],
): number {
  const { expertNum: E, numExpertsChosen: K } = config;
  const shares =
    config.useGatingSigmoid || config.scoreFunction !== null
      ? scores.map((row) => row.map((s) => s / (sum(row) + 1e-9)))
      : scores;
  const P = Array.from(
    { length: E },
    (_, e) => sum(shares.map((row) => row[e] as number)) / shares.length,
  );
  const f = Array.from(
    { length: E },
    (_, e) => chosen.flat().filter((id) => id === e).length / (K * chosen.length),
  );
  const groupsOf = { expert: E, device: config.expertGroupSize ?? 1, comm: 1 };
  return sum(
    (config.auxLossTypes ?? []).map((type, index) => {
      const groups = groupsOf[type];
      const size = E / groups;
      const mean = (values: readonly number[], g: number) =>
        sum(values.slice(g * size, (g + 1) * size)) / size;
      const products = Array.from({ length: groups }, (_, g) => mean(P, g) * mean(f, g));
      return ((config.auxLossFactors?.[index] as number) * E * E * sum(products)) / groups;
    }),
  );
}
