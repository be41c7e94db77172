// How the families of models route, one function for each kind of router, in float64 and as plainly as it can be written.
import {
  best,
  type Matrix,
  product,
  rmsNorm,
  sigmoid,
  softmax,
  sum,
  type Vector,
} from './numbers.js';

export interface Choice {
  expert: number;
  weight: number;
}

/** What a token's router makes of it. */
export interface Routed {
  choices: Choice[];
  /** Weights of the shared experts, where the router gives them. */
  shared?: number[];
}

/** A router's weights and numbers. Each kind reads those that it has. */
export interface Router {
  kind: RouterKind;
  /** `[classes][H]`; without one of its own a router cannot score. */
  weight: Matrix;
  /** Experts of a token. */
  K: number;
  /** Added to the logits. */
  logitBias?: Vector;
  /** Added to the scores for the choice alone. */
  choiceBias?: Vector;
  /** Whether the weights are divided by their sum, or by their norm of this power. */
  normalised?: boolean | number;
  /** Added to that sum. */
  epsilon?: number;
  /** Multiplies the weights. */
  scaling?: number;
  /** Groups of experts, how many of them stay open, and what the scores of the others become. */
  groups?: { count: number; open: number; masked: 0 | typeof Number.NEGATIVE_INFINITY };
  /** c of c * tanh(l / c). */
  softCap?: number;
  /** Tokens that an expert takes of a sequence. */
  capacity?: number;
  /** gemma4's: of the row, and of each expert after the normalisation. */
  rowScale?: Vector;
  expertScale?: Vector;
  normEpsilon?: number;
  /** Phi's threshold. */
  jitter?: number;
  /** Experts of each token id. */
  expertsOfToken?: readonly Vector[];
  /** The last classes are shared experts, which every token takes. */
  sharedExperts?: number;
}

type Kind = (router: Router, logits: Vector, token: number) => Routed;

const at = (values: Vector, index: number): number => {
  const value = values[index];
  if (value === undefined) throw new Error(`no value ${index} of ${values.length}`);
  return value;
};

/** The choices with their weights divided as the router says and scaled. */
function weighed(router: Router, experts: readonly number[], weights: Vector): Routed {
  const { normalised = false, epsilon = 0, scaling = 1 } = router;
  const power = Number(normalised);
  const norm = sum(weights.map((weight) => Math.abs(weight) ** power)) ** (1 / power) + epsilon;
  const divisor = normalised === false ? 1 : norm;
  return {
    choices: experts.map((expert, i) => ({ expert, weight: (at(weights, i) / divisor) * scaling })),
  };
}

/** The scores for the choice: with the bias that is added for it. */
const withBias = ({ choiceBias }: Router, scores: Vector): number[] =>
  scores.map((score, expert) => score + (choiceBias ? at(choiceBias, expert) : 0));

/** `forChoice` with the experts of all but the best groups masked; a group is as good as `score` says. */
function openGroups(
  { groups }: Router,
  forChoice: Vector,
  score: (group: number[]) => number,
): number[] {
  if (groups === undefined) return [...forChoice];
  const size = forChoice.length / groups.count;
  const scores = Array.from({ length: groups.count }, (_, group) =>
    score(forChoice.slice(group * size, (group + 1) * size)),
  );
  const open = best(scores, groups.open);
  return forChoice.map((value, expert) =>
    open.includes(Math.floor(expert / size)) ? value : groups.masked,
  );
}

const twoBest = (group: number[]): number => sum(best(group, 2).map((i) => at(group, i)));

/** Softmax over all, the K best, divided by their sum where the family does. */
const softmaxOfAll: Kind = (router, logits) => {
  const scores = softmax(logits);
  const experts = best(scores, router.K);
  return weighed(
    router,
    experts,
    experts.map((expert) => at(scores, expert)),
  );
};

/** The K best logits, and the softmax of these alone. */
const softmaxOfChosen: Kind = ({ K }, logits) => {
  const experts = best(logits, K);
  const weights = softmax(experts.map((expert) => at(logits, expert)));
  return { choices: experts.map((expert, i) => ({ expert, weight: at(weights, i) })) };
};

/** Softmax; of the best groups, by their best expert. */
const groupMaximum: Kind = (router, logits) => {
  const scores = softmax(logits);
  const experts = best(
    openGroups(router, scores, (group) => Math.max(...group)),
    router.K,
  );
  return weighed(
    router,
    experts,
    experts.map((expert) => at(scores, expert)),
  );
};

/** Sigmoid; chosen with a bias out of the groups whose two best sum up highest. */
const sigmoidWithBias: Kind = (router, logits) => {
  const scores = logits.map(sigmoid);
  const experts = best(openGroups(router, withBias(router, scores), twoBest), router.K);
  return weighed(
    router,
    experts,
    experts.map((expert) => at(scores, expert)),
  );
};

/** Softmax; chosen with a bias; classes without an expert count as experts here. */
const softmaxWithBias: Kind = (router, logits) => {
  const scores = softmax(logits);
  const experts = best(withBias(router, scores), router.K);
  return weighed(
    router,
    experts,
    experts.map((expert) => at(scores, expert)),
  );
};

/** Softmax; out of the groups whose two best sum up highest. */
const softmaxTwoBest: Kind = (router, logits) => {
  const scores = softmax(logits);
  const experts = best(openGroups(router, scores, twoBest), router.K);
  return weighed(
    router,
    experts,
    experts.map((expert) => at(scores, expert)),
  );
};

/** Softmax, the K best, divided by their sum, and then each expert's own factor. */
const expertFactors: Kind = (router, logits) => {
  const { expertScale = [] } = router;
  const { choices } = softmaxOfAll({ ...router, normalised: true }, logits, 0);
  return {
    choices: choices.map(({ expert, weight }) => ({
      expert,
      weight: weight * at(expertScale, expert),
    })),
  };
};

/** Two rounds: the best one, weighed among those not far below it; then the same without it. */
const sparsemixer: Kind = ({ jitter = 0 }, logits) => {
  const choices: Choice[] = [];
  for (let round = 0; round < 2; round++) {
    const taken = choices.map(({ expert }) => expert);
    const open = logits.map((_, expert) => expert).filter((expert) => !taken.includes(expert));
    const most = Math.max(...open.map((expert) => at(logits, expert)));
    const near = open.filter((expert) => {
      const logit = at(logits, expert);
      return (most - logit) / Math.max(Math.abs(logit), most) <= 2 * jitter;
    });
    const expert = open.find((candidate) => at(logits, candidate) === most) as number;
    const weights = softmax(near.map((candidate) => at(logits, candidate)));
    choices.push({ expert, weight: at(weights, near.indexOf(expert)) });
  }
  return { choices };
};

/** Square root of softplus; chosen with a bias, or by the token's id. */
const sqrtSoftplus: Kind = (router, logits, token) => {
  const scores = logits.map((logit) => Math.sqrt(Math.log1p(Math.exp(logit))));
  const { expertsOfToken } = router;
  const experts = expertsOfToken
    ? [...(expertsOfToken[token] ?? [])]
    : best(withBias(router, scores), router.K);
  return weighed(
    { ...router, normalised: true, epsilon: 1e-20 },
    experts,
    experts.map((expert) => at(scores, expert)),
  );
};

/** Sigmoid; chosen with a bias; the weights of chosen and shared experts together sum up to 1. */
const sharedInSum: Kind = (router, logits) => {
  const { sharedExperts = 0, scaling = 1 } = router;
  const scores = logits.map(sigmoid);
  const routed = scores.slice(0, scores.length - sharedExperts);
  const shared = scores.slice(scores.length - sharedExperts);
  const experts = best(withBias(router, routed), router.K);
  const total = sum(experts.map((expert) => at(routed, expert))) + sum(shared);
  return {
    choices: experts.map((expert) => ({
      expert,
      weight: (at(routed, expert) / total) * scaling,
    })),
    shared: shared.map((score) => (score / total) * scaling),
  };
};

/** The K best logits, and their sigmoids. */
const sigmoidOfChosen: Kind = (router, logits) => {
  const experts = best(logits, router.K);
  return weighed(
    router,
    experts,
    experts.map((expert) => sigmoid(at(logits, expert))),
  );
};

/** R1 to R15 of the families; R9 is `softmaxOfAll` with a capacity, R10 `softmaxOfAll` of two. */
const kinds = {
  softmaxOfAll,
  softmaxOfChosen,
  groupMaximum,
  sigmoidWithBias,
  softmaxWithBias,
  softmaxTwoBest,
  expertFactors,
  sparsemixer,
  sqrtSoftplus,
  sharedInSum,
  sigmoidOfChosen,
} satisfies Record<string, Kind>;

export type RouterKind = keyof typeof kinds;

/** A row's logits. */
export function logitsOf(router: Router, row: Vector): number[] {
  const { weight, logitBias, softCap, rowScale, normEpsilon = 0 } = router;
  const seen = rowScale
    ? rmsNorm(row, normEpsilon).map((value, i) => (value * at(rowScale, i)) / Math.sqrt(row.length))
    : row;
  const logits = product(weight, seen).map(
    (logit, e) => logit + (logitBias ? at(logitBias, e) : 0),
  );
  return softCap ? logits.map((logit) => softCap * Math.tanh(logit / softCap)) : logits;
}

/** What becomes of one token by its logits. */
export function routeLogits(router: Router, logits: Vector, token = 0): Routed {
  return kinds[router.kind](router, logits, token);
}

/** What becomes of the rows of one sequence. A choice beyond an expert's capacity is no choice. */
export function route(router: Router, rows: Matrix, tokens?: Vector): Routed[] {
  const taken = new Map<number, number>();
  return rows.map((row, t) => {
    const routed = routeLogits(router, logitsOf(router, row), tokens?.[t]);
    const choices = routed.choices.filter(({ expert }) => {
      const rank = (taken.get(expert) ?? 0) + 1;
      taken.set(expert, rank);
      return router.capacity === undefined || rank <= router.capacity;
    });
    return { ...routed, choices };
  });
}
