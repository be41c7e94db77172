import { weightFormatNames } from '../../binding/weight_formats.js';
import type { MoEConfigOptions } from '../../config/config.js';
import {
  type Activation,
  activationClamps,
  activations,
  type ExpertOptions,
} from '../../layer/experts.js';
import type { ActivationType, WeightType } from '../../layer/options.js';

/** A layer that a device and the CPU are to compute alike. */
export interface Check extends ExpertOptions {
  name: string;
  tokens: number;
  hiddenSize: number;
  intermediateSize: number;
  expertNum: number;
  numExpertsChosen: number;
  config: MoEConfigOptions;
  activation: Activation;
  /** Of the experts and of the router. */
  biases: boolean;
  /** Added to the scores for the choice only. */
  correctionBias?: true;
  /** An always-on expert, scaled by a sigmoid. */
  shared: boolean;
  /** Left out: the most exact one that the device takes. */
  weightType?: WeightType;
  activationType?: ActivationType;
  /** Tokens that are all zeros, or hold a NaN, among the others. */
  special?: 'zero' | 'nan';
}

const dropless = { routingPolicy: 'TopkRouterV2', capacityFactor: -1 } as const;

function check(name: string, changes: Partial<Check> = {}): Check {
  const sizes = { tokens: 64, hiddenSize: 128, intermediateSize: 64 };
  const experts = { expertNum: 16, numExpertsChosen: 4 };
  const plain = { activation: 'swiglu', biases: false, shared: false } as const;
  return {
    name,
    ...sizes,
    ...experts,
    ...plain,
    ...changes,
    config: { ...dropless, ...changes.config },
  };
}

const groups = { nGroup: 4, topkGroup: 2 };

/** What together calls every operator and kernel that a device may use. */
export const checks: readonly Check[] = [
  ...weightFormatNames.map((weightType) => check(`${weightType} weights`, { weightType })),
  check('int8 weights and rows', { weightType: 'int8', activationType: 'int8' }),
  ...activations.map((activation) =>
    check(`${activation} with biases`, { activation, biases: true }),
  ),
  ...activationClamps.map((activationClamp) =>
    check(`swiglu clamped ${activationClamp} its sigmoid`, { activationLimit: 1, activationClamp }),
  ),
  check('shared expert', { shared: true }),
  check('latent size, another shared expert', {
    ...{ shared: true, activation: 'relu2', sharedActivation: 'swiglu', latentSize: 48 },
  }),

  check('softmax, not normalised, scaled', {
    config: { normTopkProb: false, routedScalingFactor: 2.5 },
  }),
  check('sigmoid', { config: { useGatingSigmoid: true, routedScalingFactor: 2.5 } }),
  check('groups, softmax', {
    config: { ...groups, topkMethod: 'group_limited_greedy', normTopkProb: false },
  }),
  check('groups, sigmoid', {
    config: { ...groups, topkMethod: 'noaux_tc', useGatingSigmoid: true },
  }),
  check('excluded groups, softmax', {
    config: {
      ...groups,
      topkMethod: 'group_limited_greedy',
      excludeMaskedGroups: true,
      normTopkProb: false,
    },
  }),
  check('excluded groups, sigmoid, correction bias', {
    correctionBias: true,
    config: {
      ...groups,
      topkMethod: 'noaux_tc',
      excludeMaskedGroups: true,
      useGatingSigmoid: true,
      balanceViaTopkBias: true,
    },
  }),
  check('balance losses', {
    config: { auxLossTypes: ['expert'], auxLossFactors: [0.1], zLossFactor: 0.01 },
  }),
  check('TopkRouterV1 with capacity', {
    config: { routingPolicy: 'TopkRouterV1', capacityFactor: 1 },
  }),
  check('TopkRouterV2 with capacity', { config: { capacityFactor: 0.75 } }),

  check('no tokens', { tokens: 0 }),
  check('one token', { tokens: 1 }),
  check('a thousand tokens', { tokens: 1000, hiddenSize: 64 }),
  check('odd sizes', { tokens: 13, hiddenSize: 131, intermediateSize: 67, expertNum: 7 }),
  check('one expert', { expertNum: 1, numExpertsChosen: 1 }),
  check('every expert chosen', { expertNum: 8, numExpertsChosen: 8 }),
  check('256 experts', { expertNum: 256, numExpertsChosen: 8, intermediateSize: 32 }),
  check('tokens of zeros', { special: 'zero' }),
  check('tokens with NaN', { special: 'nan' }),
];
