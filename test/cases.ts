// The layers that everything is checked on.
import type { DType, ExpertOptions, LayerOptions, MoEConfigOptions, Tensor } from '../src/index.js';
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
  experts?: ExpertOptions;
  /** Biases of the experts and of the router. */
  biases?: boolean;
  /** Width of the shared expert, a multiple of I; `gated` scales it by a sigmoid. */
  shared?: { experts: number; gated: boolean };
  weightType?: DType;
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
  ...(['swiglu_oai', 'geglu', 'gelu', 'gelu_tanh', 'relu', 'silu'] as const).map(
    (activation): Case => ({
      ...small,
      name: `${activation} with biases`,
      experts: { activation },
      biases: true,
    }),
  ),
  { ...small, name: 'shared expert', shared: { experts: 1, gated: false } },
  { ...small, name: 'two gated shared experts', shared: { experts: 2, gated: true } },
  ...(['geglu_tanh', 'relu2'] as const).map(
    (activation): Case => ({
      ...small,
      name: `${activation} with biases`,
      experts: { activation },
      biases: true,
    }),
  ),
  ...(['swiglu', 'swiglu_oai'] as const).flatMap((activation) =>
    (['before', 'after'] as const).map(
      (activationClamp): Case => ({
        ...small,
        name: `${activation} clamped ${activationClamp} its sigmoid`,
        experts: { activation, activationAlpha: 1.25, activationLimit: 0.5, activationClamp },
      }),
    ),
  ),
  {
    ...small,
    name: 'a shared expert of another limit',
    shared: { experts: 1, gated: false },
    experts: { activationLimit: 0.5, sharedActivationLimit: null },
  },
  {
    ...small,
    name: 'a shared expert of another activation',
    shared: { experts: 1, gated: true },
    experts: { activation: 'relu2', sharedActivation: 'swiglu_oai', sharedActivationLimit: 0.5 },
  },
  {
    ...small,
    name: 'a latent size',
    T: 11,
    shared: { experts: 2, gated: true },
    experts: { activation: 'relu2', latentSize: 7 },
    biases: true,
  },
  {
    ...small,
    name: 'a latent size above the hidden one, with capacity',
    T: 40,
    config: { ...capacity },
    experts: { latentSize: 33 },
  },
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
  const { T, H, I, E, K, config = {}, experts = {}, biases = false, shared, seed = 1 } = shape;
  let index = 0;
  const tensor = (...sizes: number[]): Tensor => {
    const count = sizes.reduce((product, size) => product * size, 1);
    const scale = sizes.length === 1 ? 0.5 : Math.sqrt(3 / (sizes.at(-1) as number));
    return float32Tensor(randomValues(count, seed * 1000 + index++, scale), sizes);
  };
  const { activation = 'swiglu', sharedActivation = activation, latentSize: L } = experts;
  const isGated = (name: string) => /^(swi|ge)glu/.test(name);
  const gated = isGated(activation);
  const R = L ?? H; // of the routed experts
  const S = (shared?.experts ?? 0) * I;
  const dropless = { routingPolicy: 'TopkRouterV2', capacityFactor: -1 } as const;
  const sharing = shared
    ? { sharedExpertNum: shared.experts, useSharedExpertGating: shared.gated }
    : {};
  const options: LayerOptions = {
    config: { expertNum: E, numExpertsChosen: K, ...dropless, ...sharing, ...config },
    hiddenSize: H,
    intermediateSize: I,
    ...experts,
    weights: {
      router: tensor(E, H),
      ...(gated && { gate: tensor(E, I, R) }),
      up: tensor(E, I, R),
      down: tensor(E, R, I),
      ...(biases && { routerBias: tensor(E), upBias: tensor(E, I), downBias: tensor(E, R) }),
      ...(biases && gated && { gateBias: tensor(E, I) }),
      ...(shared && {
        shared: {
          ...(isGated(sharedActivation) && { gate: tensor(S, H) }),
          up: tensor(S, H),
          down: tensor(H, S),
          ...(shared.gated && { router: tensor(1, H) }),
        },
      }),
      ...(L !== undefined && { latentDown: tensor(L, H), latentUp: tensor(H, L) }),
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
    experts: {
      activation: pick([
        ...(['swiglu', 'swiglu_oai', 'geglu', 'geglu_tanh'] as const),
        ...(['gelu', 'gelu_tanh', 'relu', 'relu2', 'silu'] as const),
      ]),
      ...(next() < 0.3 && { latentSize: between(1, 40) }),
    },
    biases: next() < 0.5,
    seed,
  };
}
