// The layers that everything is checked on.
import type { Activation, DType, LayerOptions, MoEConfigOptions, Tensor } from '../src/index.js';
import { toBits } from './support/floats.js';
import { float32Tensor, generator, randomValues } from './support/layers.js';

export interface Case {
  name: string;
  T: number;
  H: number;
  I: number;
  E: number;
  K: number;
  config?: MoEConfigOptions;
  activation?: Activation;
  /** Biases of the experts and of the router. */
  biases?: boolean;
  /** Width of the shared expert, a multiple of I; `gated` scales it by a sigmoid. */
  shared?: { experts: number; gated: boolean };
  weightType?: DType;
  /** A factor for each expert. */
  expertScale?: boolean;
  seed?: number;
}

const small = { T: 7, H: 20, I: 12, E: 6, K: 2 };
const v1 = { routingPolicy: 'TopkRouterV1', capacityFactor: 1.0 } as const;
const capacity = { routingPolicy: 'TopkRouterV2', capacityFactor: 1.0 } as const;

export const cases: readonly Case[] = [
  { ...small, name: 'no tokens', T: 0 },
  { ...small, name: 'one token', T: 1 },
  { ...small, name: 'odd sizes', T: 13, H: 33, I: 17, E: 7, K: 3 },
  { ...small, name: 'sizes below a vector', H: 3, I: 1, E: 3 },
  { ...small, name: 'sizes above a panel', T: 40, H: 130, I: 70, E: 4 },
  { ...small, name: 'every expert chosen', E: 5, K: 5 },
  {
    ...small,
    name: 'an expert nobody chooses',
    T: 2,
    E: 16,
    K: 1,
    config: { normTopkProb: false },
  },
  { ...small, name: 'many experts, many choices', T: 3, H: 8, I: 4, E: 512, K: 64 },
  { ...small, name: 'V1 with overflow', T: 40, config: { ...v1 } },
  { ...small, name: 'V1 with K = 1', K: 1, T: 25, config: { ...v1 } },
  {
    ...small,
    name: 'V1 in groups, the last one short',
    T: 23,
    config: { ...v1, expertGroupSize: 10 },
  },
  { ...small, name: 'V2 kdrop', T: 40, config: { ...capacity } },
  { ...small, name: 'V2 sdrop', T: 40, config: { ...capacity, enableSdrop: true } },
  {
    ...small,
    name: 'V2 capacity rounded up for chunks',
    T: 31,
    config: { ...capacity, compCommParallel: true, compCommParallelDegree: 4 },
  },
  {
    ...small,
    name: 'sigmoid scores',
    config: { useGatingSigmoid: true, routedScalingFactor: 2.5 },
  },
  {
    ...small,
    name: 'limited groups',
    E: 16,
    K: 4,
    config: { topkMethod: 'group_limited_greedy', nGroup: 4, topkGroup: 2, normTopkProb: false },
  },
  {
    ...small,
    name: 'noaux groups',
    E: 16,
    K: 4,
    config: { topkMethod: 'noaux_tc', nGroup: 4, topkGroup: 2, useGatingSigmoid: true },
  },
  {
    ...small,
    name: 'losses',
    T: 30,
    config: {
      auxLossTypes: ['expert', 'device', 'comm'],
      auxLossFactors: [0.1, 0.2, 0.3],
      expertGroupSize: 3,
      zLossFactor: 0.01,
    },
  },
  {
    ...small,
    name: 'square roots of softplus, capped logits',
    K: 3,
    config: { scoreFunction: 'sqrtsoftplus', logitSoftCap: 1.5, zLossFactor: 0.01 },
    expertScale: true,
  },
  {
    ...small,
    name: 'sparse mixer',
    T: 30,
    config: { scoreFunction: 'sparsemixer', sparsemixerEpsilon: 0.2, normTopkProb: false },
  },
  {
    ...small,
    name: 'choice by logit, one of weight 1',
    K: 1,
    config: { chooseByLogit: true, normTopkSingle: true, useGatingSigmoid: true },
    expertScale: true,
  },
  {
    ...small,
    name: 'identity experts',
    T: 17,
    H: 33,
    K: 4,
    config: { zeroExpertNum: 3, routedScalingFactor: 2.5, normTopkProb: false },
    expertScale: true,
  },
  {
    ...small,
    name: 'identity experts beside a scaled shared one, with slots',
    T: 31,
    K: 5,
    config: { zeroExpertNum: 4, sharedExpertScale: 0.5, expertCapacity: 4, expertGroupSize: 9 },
    shared: { experts: 1, gated: true },
  },
  {
    ...small,
    name: 'more choices than experts',
    E: 2,
    K: 5,
    config: { zeroExpertNum: 4 },
  },
  { ...small, name: 'experts always chosen', K: 4, config: { alwaysChosenExpertNum: 2 } },
  {
    ...small,
    name: 'weights on the input',
    T: 23,
    H: 33,
    I: 17,
    K: 3,
    config: { weightOnInput: true, useGatingSigmoid: true, normTopkProb: false },
    biases: true,
  },
  {
    ...small,
    name: 'weights on the input of identities and of experts with slots',
    T: 23,
    config: { weightOnInput: true, zeroExpertNum: 2, expertCapacity: 3 },
    shared: { experts: 1, gated: false },
  },
  ...(['swiglu_oai', 'geglu', 'gelu', 'gelu_tanh', 'relu', 'silu'] as const).map(
    (activation): Case => ({
      ...small,
      name: `${activation} with biases`,
      activation,
      biases: true,
    }),
  ),
  { ...small, name: 'shared expert', shared: { experts: 1, gated: false } },
  { ...small, name: 'two gated shared experts', shared: { experts: 2, gated: true } },
  { ...small, name: 'bfloat16 weights', T: 9, H: 130, I: 70, weightType: 'bfloat16' },
  { ...small, name: 'float16 weights', T: 9, H: 130, I: 70, weightType: 'float16' },
];

export function rounded(tensor: Tensor, dtype: DType): Tensor {
  if (dtype === 'float32') return tensor;
  return {
    dtype,
    shape: tensor.shape,
    data: Uint16Array.from(tensor.data, (value) => toBits(dtype, value)),
  };
}

/** Every weight of the experts in another type. */
export function withWeights(
  options: LayerOptions,
  change: (tensor: Tensor) => Tensor,
): LayerOptions {
  const { gate, up, down, shared } = options.weights;
  const changed = {
    ...(gate && { gate: change(gate) }),
    up: change(up),
    down: change(down),
    ...(shared && {
      shared: {
        ...shared,
        ...(shared.gate && { gate: change(shared.gate) }),
        up: change(shared.up),
        down: change(shared.down),
      },
    }),
  };
  return { ...options, weights: { ...options.weights, ...changed } };
}

/** Options of the case's layer with float32 weights, and its batch. */
export function seeded(shape: Case): { options: LayerOptions; hidden: Float32Array } {
  const {
    T,
    H,
    I,
    E,
    K,
    config = {},
    activation = 'swiglu',
    biases = false,
    shared,
    expertScale = false,
    seed = 1,
  } = shape;
  const R = E + (config.zeroExpertNum ?? 0);
  let index = 0;
  const tensor = (...sizes: number[]): Tensor => {
    const count = sizes.reduce((product, size) => product * size, 1);
    const scale = sizes.length === 1 ? 0.5 : Math.sqrt(3 / (sizes.at(-1) as number));
    return float32Tensor(randomValues(count, seed * 1000 + index++, scale), sizes);
  };
  const gated = activation === 'swiglu' || activation === 'swiglu_oai' || activation === 'geglu';
  const S = (shared?.experts ?? 0) * I;
  const dropless = { routingPolicy: 'TopkRouterV2', capacityFactor: -1 } as const;
  const sharing = shared
    ? { sharedExpertNum: shared.experts, useSharedExpertGating: shared.gated }
    : {};
  const options: LayerOptions = {
    config: { expertNum: E, numExpertsChosen: K, ...dropless, ...sharing, ...config },
    hiddenSize: H,
    intermediateSize: I,
    activation,
    weights: {
      router: tensor(R, H),
      ...(gated && { gate: tensor(E, I, H) }),
      up: tensor(E, I, H),
      down: tensor(E, H, I),
      ...(biases && { routerBias: tensor(R), upBias: tensor(E, I), downBias: tensor(E, H) }),
      ...(biases && gated && { gateBias: tensor(E, I) }),
      ...(expertScale && { expertScale: tensor(E) }),
      ...(shared && {
        shared: {
          ...(gated && { gate: tensor(S, H) }),
          up: tensor(S, H),
          down: tensor(H, S),
          ...(shared.gated && { router: tensor(1, H) }),
        },
      }),
    },
  };
  return { options, hidden: randomValues(T * H, seed * 1000 + 999, 2) };
}

/** A random case; its seed says which. */
export function randomCase(seed: number): Case {
  const next = generator(seed);
  const between = (min: number, max: number) => min + Math.floor(next() * (max - min + 1));
  const pick = <T>(values: readonly T[]) => values[between(0, values.length - 1)] as T;
  const E = between(2, 12);
  const K = between(1, E);
  const policy = pick([
    {},
    { ...v1, capacityFactor: 1 + next() },
    { ...capacity, capacityFactor: 0.5 + next() },
  ]);
  const v2 =
    'routingPolicy' in policy && policy.routingPolicy === 'TopkRouterV1'
      ? {}
      : {
          useGatingSigmoid: next() < 0.5,
          normTopkProb: next() < 0.5,
          routedScalingFactor: pick([1, 2.5]),
          enableSdrop: 'capacityFactor' in policy && next() < 0.5,
        };
  return {
    name: `random case ${seed}`,
    T: between(1, 24),
    H: between(2, 40),
    I: between(1, 40),
    E,
    K,
    config: { ...policy, ...v2 },
    activation: pick(['swiglu', 'swiglu_oai', 'geglu', 'gelu', 'gelu_tanh', 'relu', 'silu']),
    biases: next() < 0.5,
    seed,
  };
}
