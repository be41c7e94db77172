// The reference itself, against values worked out by hand.
import { describe, expect, test } from 'vitest';
import { type Block, blockOutput, expertRows } from './block.js';
import {
  type Activation,
  clampedAfter,
  clampedBefore,
  type Expert,
  gatedGeluTanh,
  openSwiglu,
  relu,
  reluSquared,
  swiglu,
} from './experts.js';
import { best, rmsNorm } from './numbers.js';
import { logitsOf, type Routed, type Router, route, routeLogits } from './routers.js';

/** Logits whose softmax these are, as they sum up to 1. */
const softmaxOf = (...scores: number[]) => scores.map(Math.log);
/** Logits whose sigmoids these are. */
const sigmoidOf = (...scores: number[]) => scores.map((score) => Math.log(score / (1 - score)));

const groups = { count: 2, open: 1, masked: Number.NEGATIVE_INFINITY } as const;
const closed = { ...groups, masked: 0 } as const;
type Options = Omit<Router, 'weight'>;

interface Case {
  name: string;
  router: Options;
  logits: number[];
  experts: number[];
  weights: number[];
  shared?: number[];
  token?: number;
}

const cases: Case[] = [
  {
    name: 'softmax, the best, undivided',
    router: { kind: 'softmaxOfAll', K: 2 },
    logits: softmaxOf(0.1, 0.2, 0.3, 0.4),
    experts: [3, 2],
    weights: [0.4, 0.3],
  },
  {
    name: 'softmax, divided by the sum',
    router: { kind: 'softmaxOfAll', K: 2, normalised: true },
    logits: softmaxOf(0.1, 0.2, 0.3, 0.4),
    experts: [3, 2],
    weights: [4 / 7, 3 / 7],
  },
  {
    name: 'softmax, divided by the Euclidean norm',
    router: { kind: 'softmaxOfAll', K: 2, normalised: 2 },
    logits: softmaxOf(0.1, 0.2, 0.3, 0.4),
    experts: [3, 2],
    weights: [0.8, 0.6],
  },
  {
    name: 'softmax of the chosen logits',
    router: { kind: 'softmaxOfChosen', K: 2 },
    logits: softmaxOf(0.1, 0.2, 0.3, 0.4),
    experts: [3, 2],
    weights: [4 / 7, 3 / 7],
  },
  {
    name: 'the group of the best expert, scaled',
    router: { kind: 'groupMaximum', K: 2, groups: closed, scaling: 2 },
    logits: softmaxOf(0.4, 0.05, 0.3, 0.25),
    experts: [0, 1],
    weights: [0.8, 0.1],
  },
  {
    name: 'softmax, the group of the best two',
    router: { kind: 'softmaxTwoBest', K: 2, groups: closed, normalised: true, epsilon: 1e-20 },
    logits: softmaxOf(0.4, 0.05, 0.3, 0.25),
    experts: [2, 3],
    weights: [6 / 11, 5 / 11],
  },
  {
    name: 'sigmoid with a bias for the choice',
    router: { kind: 'sigmoidWithBias', K: 2, choiceBias: [0, -0.7, 0, 0.1], normalised: true },
    logits: sigmoidOf(0.5, 0.8, 0.6, 0.2),
    experts: [2, 0],
    weights: [6 / 11, 5 / 11],
  },
  {
    name: 'sigmoid with a bias, the group of the best two',
    router: { kind: 'sigmoidWithBias', K: 2, choiceBias: [0, -0.7, 0, 0.1], groups, scaling: 2 },
    logits: sigmoidOf(0.5, 0.8, 0.6, 0.2),
    experts: [2, 3],
    weights: [1.2, 0.4],
  },
  {
    name: 'a closed group of 0 is above negative scores',
    router: { kind: 'sigmoidWithBias', K: 2, choiceBias: [-0.6, -0.9, -0.9, -0.9], groups: closed },
    logits: sigmoidOf(0.5, 0.8, 0.6, 0.2),
    experts: [2, 3],
    weights: [0.6, 0.2],
  },
  {
    name: 'an epsilon that counts',
    router: { kind: 'sigmoidWithBias', K: 2, normalised: true, epsilon: 0.6 },
    logits: sigmoidOf(0.5, 0.8, 0.6, 0.2),
    experts: [1, 2],
    weights: [0.4, 0.3],
  },
  {
    name: 'softmax with a bias for the choice',
    router: { kind: 'softmaxWithBias', K: 2, choiceBias: [0.35, 0, 0, 0], normalised: true },
    logits: softmaxOf(0.1, 0.2, 0.3, 0.4),
    experts: [0, 3],
    weights: [0.2, 0.8],
  },
  {
    name: 'a factor of each expert',
    router: { kind: 'expertFactors', K: 2, expertScale: [9, 9, 7, 14] },
    logits: softmaxOf(0.1, 0.2, 0.3, 0.4),
    experts: [3, 2],
    weights: [8, 3],
  },
  {
    // Of 2 the near ones are 1 (half as much lower) and 0.9; of 1 then 0.9.
    name: 'two rounds among those that are near',
    router: { kind: 'sparsemixer', K: 2, jitter: 0.5 },
    logits: [1, 0.9, -1.5, 2],
    experts: [3, 0],
    weights: [1 / (1 + Math.exp(-1) + Math.exp(-1.1)), 1 / (1 + Math.exp(-0.1))],
  },
  {
    // The distance is measured by the logit itself where the best is below 0: 0.1 / 1.1 and 2 / 3.
    name: 'two rounds among logits below 0',
    router: { kind: 'sparsemixer', K: 2, jitter: 0.1 },
    logits: [-3, -1, -1.1],
    experts: [1, 2],
    weights: [1 / (1 + Math.exp(-0.1)), 1],
  },
  {
    name: 'square root of softplus with a bias for the choice',
    router: { kind: 'sqrtSoftplus', K: 2, choiceBias: [5, 0, 0], scaling: 2 },
    logits: [1, 4, 9].map((softplus) => Math.log(Math.exp(softplus) - 1)),
    experts: [0, 2],
    weights: [0.5, 1.5],
  },
  {
    name: 'square root of softplus, experts by the token',
    router: {
      kind: 'sqrtSoftplus',
      K: 2,
      expertsOfToken: [
        [2, 0],
        [1, 0],
      ],
    },
    logits: [1, 4, 9].map((softplus) => Math.log(Math.exp(softplus) - 1)),
    token: 1,
    experts: [1, 0],
    weights: [2 / 3, 1 / 3],
  },
  {
    name: 'shared experts in the sum',
    router: { kind: 'sharedInSum', K: 1, sharedExperts: 2, choiceBias: [1, 0, 0], scaling: 1.1 },
    logits: sigmoidOf(0.5, 0.8, 0.6, 0.4, 0.2),
    experts: [0],
    weights: [0.5],
    shared: [0.4, 0.2],
  },
  {
    name: 'sigmoids of the best logits',
    router: { kind: 'sigmoidOfChosen', K: 2, normalised: true },
    logits: sigmoidOf(0.5, 0.8, 0.6),
    experts: [1, 2],
    weights: [4 / 7, 3 / 7],
  },
];

const close = (actual: readonly number[], expected: readonly number[]) => {
  expect(actual).toHaveLength(expected.length);
  expected.forEach((value, i) => {
    expect(Math.abs((actual[i] as number) - value)).toBeLessThanOrEqual(1e-12);
  });
};

describe('a router', () => {
  test.each(cases)('$name', ({ router, logits, experts, weights, shared = [], token }) => {
    const routed: Routed = routeLogits({ ...router, weight: [] }, logits, token);
    expect(routed.choices.map(({ expert }) => expert)).toEqual(experts);
    close(
      routed.choices.map(({ weight }) => weight),
      weights,
    );
    close(routed.shared ?? [], shared);
  });

  test('takes the lower index of two equal scores', () => {
    expect(best([1, 3, 3, 2], 3)).toEqual([1, 2, 3]);
  });

  test('adds a bias to the logits and caps them', () => {
    const weight = [
      [1, 0],
      [0, 2],
    ];
    const router: Router = { kind: 'softmaxOfAll', K: 1, weight, logitBias: [0.5, -1] };
    close(logitsOf(router, [2, 3]), [2.5, 5]);
    close(logitsOf({ ...router, softCap: 4 }, [2, 3]), [4 * Math.tanh(0.625), 4 * Math.tanh(1.25)]);
  });

  test('sees the row by its root mean square, scaled', () => {
    const router: Router = { kind: 'expertFactors', K: 1, weight: [[1, 1]], rowScale: [2, 10] };
    // The root mean square of 1 and 7 is 5, the root of the width that of 2.
    close(logitsOf(router, [1, 7]), [(0.2 * 2 + 1.4 * 10) / Math.SQRT2]);
    close(rmsNorm([1, 7], 11), [1 / 6, 7 / 6]);
  });

  test('has no choice where the expert is full', () => {
    const router: Router = { kind: 'softmaxOfAll', K: 1, weight: [[1], [-1]], capacity: 2 };
    const taken = route(router, [[1], [2], [-1], [3], [-2]]).map(({ choices }) =>
      choices.map(({ expert }) => expert),
    );
    expect(taken).toEqual([[0], [0], [1], [], [1]]);
  });
});

describe('an activation', () => {
  const silu1 = 1 / (1 + Math.exp(-1));
  test.each<[string, Activation, gate: number, up: number, number]>([
    ['swiglu', swiglu, 1, -3, -3 * silu1],
    ['gated tanh GELU', gatedGeluTanh, 1, 2, 1 + Math.tanh(Math.sqrt(2 / Math.PI) * 1.044715)],
    ['relu', relu, 5, -2, 0],
    ['relu squared', reluSquared, 5, 3, 9],
    ['relu squared below 0', reluSquared, 5, -3, 0],
    ['open swiglu within its limit', openSwiglu(2, 7), 0.5, 3, (4 * 0.5) / (1 + Math.exp(-1))],
    ['open swiglu beyond it', openSwiglu(1, 1), 4, -9, 0],
    [
      'open swiglu limits the gate from above alone',
      openSwiglu(1, 1),
      -2,
      9,
      -4 / (1 + Math.exp(2)),
    ],
    ['limited before silu', clampedBefore(1), 4, -9, -silu1],
    ['limited before silu from above alone', clampedBefore(1), -4, 9, -4 / (1 + Math.exp(4))],
    ['limited after silu', clampedAfter(0.5), 1, 9, 0.25],
    ['limited after silu, below the limit', clampedAfter(2), 1, -3, -2 * silu1],
  ])('%s', (_, activation, gate, up, expected) => close([activation(gate, up)], [expected]));
});

describe('a block', () => {
  /** relu(x0) and relu(x1), each times the factor. */
  const scaled = (factor: number): Expert => ({
    up: [
      [1, 0],
      [0, 1],
    ],
    down: [
      [factor, 0],
      [0, factor],
    ],
  });
  const router: Router = {
    kind: 'sigmoidOfChosen',
    K: 2,
    weight: [
      [0, 0],
      [0, 0],
      [0, -1],
    ],
  };
  const block: Block = { router, experts: [scaled(2), scaled(10)], activation: reluSquared };

  test('weighs what experts give', () => {
    close(blockOutput(block, [[3, 1]]).flat(), [0.5 * (18 + 90), 0.5 * (2 + 10)]);
  });

  test('weighs what experts see', () => {
    const onInput = { ...block, weightOnInput: true };
    close(blockOutput(onInput, [[3, 1]]).flat(), [0.25 * (18 + 90), 0.25 * (2 + 10)]);
  });

  test('takes a class without an expert for the row itself', () => {
    const {
      experts: [first],
    } = block;
    const one = { ...block, experts: [first as Expert] };
    close(blockOutput(one, [[3, 1]]).flat(), [0.5 * (18 + 3), 0.5 * (2 + 1)]);
  });

  test('adds a shared expert by its sigmoid, and scales all', () => {
    const shared = { ...scaled(4), activation: relu, router: [0, Math.log(3)] };
    const all = { ...block, shared, outputFactor: 0.5 };
    close(blockOutput(all, [[3, 1]]).flat(), [(54 + 0.75 * 12) / 2, (6 + 0.75 * 4) / 2]);
  });

  test('adds shared experts by the weights that the router gives', () => {
    const weight = [
      [0, 0],
      [0, 0],
      [0, -Math.log(3)],
    ];
    const weighing: Router = { kind: 'sharedInSum', K: 1, sharedExperts: 2, weight };
    const all = { ...block, router: weighing, weighedShared: [scaled(1), scaled(100)] };
    // Two sigmoids are a half, the last one is a quarter.
    close(
      blockOutput(all, [[3, 1]]).flat(),
      [9, 1].map((x) => x * (2 * 0.4 + 0.4 + 100 * 0.2)),
    );
  });

  test('takes rows down and brings them back', () => {
    const narrow = { up: [[1]], down: [[1]] };
    const latent = { down: [[1, 1]], up: [[1], [-1]] };
    const all = { ...block, experts: [narrow, narrow], latent };
    close(blockOutput(all, [[3, 1]]).flat(), [16, -16]);
  });

  test('adds its bias once, behind its factor', () => {
    const all = { ...block, routedFactor: 0.5, outputBias: [1, 2] };
    close(blockOutput(all, [[3, 1]]).flat(), [28, 5]);
  });

  test('norms the rows of experts alone', () => {
    const normed = { ...block, norm: { weight: [5, 10], epsilon: 0 } };
    close(expertRows(normed, [[1, 7]]).flat(), [1, 14]);
    const [first] = blockOutput(normed, [[1, 7]]);
    close(first as number[], [0.5 * 12, 0.5 * 12 * 196]);
  });
});
