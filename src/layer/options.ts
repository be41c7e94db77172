import {
  expectInteger,
  expectKnownNames,
  expectObject,
  expectOneOf,
  expectOptions,
  unexpected,
} from '../checks.js';
import { defaults } from '../config/fields.js';
import { MoEConfig, type MoEConfigOptions } from '../config.js';
import {
  type BackendName,
  type DeviceName,
  type ResolvedDevice,
  resolveDevice,
} from '../devices.js';
import { ConfigError, ShapeError } from '../errors.js';
import {
  type LayerWeights,
  type LayerWeightViews,
  type SharedWeights,
  storedType,
} from '../weights.js';
import type { ParallelOptions } from './parallel.js';
import { viewsOf } from './tensor_views.js';

/** What an expert computes; the last four have no gate. */
export const activations = [
  'swiglu',
  'swiglu_oai',
  'geglu',
  'gelu',
  'gelu_tanh',
  'relu',
  'silu',
] as const;
/**
 * What an expert computes between its projections: `down(act(gate x) * up x)` for the first three, `down(act(up x))` for
 * `gelu`, `gelu_tanh`, `relu` and `silu`, which have no gate. `swiglu_oai` is gpt-oss' clamped SwiGLU.
 */
export type Activation = (typeof activations)[number];

export const weightTypes = ['float32', 'bfloat16', 'float16', 'int8', 'int4'] as const;
/** How experts are held in memory. `int8` and `int4` have a scale per group of inputs: a weight is `q * scale`. */
export type WeightType = (typeof weightTypes)[number];

/** Inputs of an output feature that share a scale. */
export const weightGroups = [32, 64, 128, 'all'] as const;
/** How many inputs of an output feature share a scale. `'all'`: one scale per output feature. */
export type WeightGroup = (typeof weightGroups)[number];

/** What rows are multiplied as. */
export const activationTypes = ['float', 'int8'] as const;
/** How rows enter the products of `int8` and `int4` weights. */
export type ActivationType = (typeof activationTypes)[number];

/** What `MoELayer.create` makes a layer of. */
export interface LayerOptions extends ParallelOptions {
  /** How tokens are routed, and the number of experts. */
  config: MoEConfig | MoEConfigOptions;
  /** H. */
  hiddenSize: number;
  /** I, the width of each expert. */
  intermediateSize: number;
  /** Defaults to `'swiglu'`. */
  activation?: Activation | undefined;
  /** Borrowed until `create` settles. */
  weights: LayerWeights;
  /** Defaults to `'auto'`: the first available of ascend, cuda, cpu. */
  device?: DeviceName | undefined;
  /**
   * How experts are held; defaults to the type they are given in, to float32 where an always-on expert has another. The
   * router is always float32.
   */
  weightType?: WeightType | undefined;
  /**
   * Of `int8` and `int4`: how many inputs of an output feature share a scale. Defaults to 32, the most exact; `'all'` is
   * for `int8` only, and its default on Ascend, whose operators take no other.
   */
  weightGroup?: WeightGroup | undefined;
  /**
   * `'int8'` rounds the rows of a batch to int8 before each product, which is then one of integers: faster and less exact
   * (docs/weight-types.md). On the CPU with `int8` and `int4` weights, a scale for each row and group of inputs; on Ascend
   * A2 and A3 with `int8` weights of experts without biases, a scale for each row. Defaults to `'float'`.
   */
  activationType?: ActivationType | undefined;
  /** At most this many of the device's threads work on the layer. Defaults to all, as many as the process may use. */
  threads?: number | undefined;
  /** Calls that may wait on the device before a further one fails with `ERR_MOE_QUEUE_FULL`. Defaults to 1024. */
  maxQueue?: number | undefined;
}

/** A layer ready to be handed to the native side: checked options, and where the weights stand. */
export interface LayerParts extends ParallelOptions {
  config: MoEConfig;
  hiddenSize: number;
  intermediateSize: number;
  /** Width of the shared expert, 0 without one. */
  sharedSize: number;
  activation: Activation;
  weightType: WeightType;
  weightGroup?: WeightGroup | undefined;
  activationType?: ActivationType | undefined;
  views: LayerWeightViews;
  /** What the layer's `diagnostics` say of its weights. */
  notes?: readonly string[] | undefined;
  device?: DeviceName | undefined;
  threads?: number | undefined;
  maxQueue?: number | undefined;
  /** Counts experts as they are prepared. What it throws ends the load. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export const isGated = (activation: Activation): boolean =>
  activation === 'swiglu' || activation === 'swiglu_oai' || activation === 'geglu';

const optionNames: readonly (keyof LayerOptions)[] = [
  'config',
  'hiddenSize',
  'intermediateSize',
  'activation',
  'weights',
  'device',
  'weightType',
  'weightGroup',
  'activationType',
  'threads',
  'maxQueue',
  'group',
  'unevenExperts',
  'placement',
];

const weightNames: readonly (keyof LayerWeights)[] = [
  ...(['router', 'routerBias', 'routerCorrectionBias'] as const),
  ...(['gate', 'up', 'down', 'gateBias', 'upBias', 'downBias', 'shared'] as const),
];
const sharedNames: readonly (keyof SharedWeights)[] = ['gate', 'up', 'down', 'router'];

const maxSize = 2 ** 30;

/** Checks the options of `MoELayer.create` and finds where each weight stands. */
export function partsOf(options: LayerOptions): LayerParts {
  expectOptions('MoELayer.create', options, optionNames);
  const {
    hiddenSize,
    intermediateSize,
    weights,
    activation = 'swiglu',
    device,
    threads,
    maxQueue,
  } = options;
  expectObject('config', options.config as unknown);
  const config =
    options.config instanceof MoEConfig ? options.config : new MoEConfig(options.config);
  expectInteger('hiddenSize', hiddenSize, 1, maxSize);
  expectInteger('intermediateSize', intermediateSize, 1, maxSize);
  expectOneOf('activation', activation, activations);
  if (weights === null || typeof weights !== 'object')
    throw unexpected('weights', 'an object of tensors', weights);
  expectKnownNames('weights', weights, weightNames);
  if (weights.shared !== undefined) {
    expectObject('weights.shared', weights.shared);
    expectKnownNames('weights.shared', weights.shared, sharedNames);
  }

  const sharedSize = sharedSizeOf(config, intermediateSize, weights);
  const sizes = { expertNum: config.expertNum, hiddenSize, intermediateSize, sharedSize };
  const views = viewsOf(weights, sizes, isGated(activation));
  const weightType = options.weightType ?? storedType(views);
  const parts = { config, hiddenSize, intermediateSize, sharedSize, activation, weightType, views };
  const { weightGroup, activationType, group, unevenExperts, placement } = options;
  const run = { device, threads, maxQueue, group, unevenExperts, placement };
  return { ...parts, weightGroup, activationType, ...run };
}

function sharedSizeOf(config: MoEConfig, intermediateSize: number, weights: LayerWeights): number {
  const wanted = Math.round(config.sharedExpertNum * intermediateSize);
  if (wanted === 0 && weights.shared !== undefined)
    throw new ConfigError('Expected no `weights.shared`: `sharedExpertNum` is 0');
  if (wanted > 0 && weights.shared === undefined)
    throw new ShapeError(
      `Expected \`weights.shared\` of width ${wanted}: \`sharedExpertNum\` is ${config.sharedExpertNum}`,
    );
  return wanted;
}

/** Refuses parts whose config and weights do not mean the same layer, wherever they come from. */
export function checkParts({
  config,
  intermediateSize,
  weightType,
  weightGroup,
  activationType = 'float',
  views,
  device,
  threads,
  maxQueue,
}: LayerParts): void {
  expectOneOf('weightType', weightType, weightTypes);
  if (weightGroup !== undefined) expectWeightGroup(weightType, weightGroup);
  expectOneOf('activationType', activationType, activationTypes);
  if (activationType === 'int8') expectInt8Activations(weightType, resolveDevice(device));
  if (threads !== undefined) expectInteger('threads', threads, 1, 4096);
  if (maxQueue !== undefined) expectInteger('maxQueue', maxQueue, 1);
  if (views.packed !== undefined) return; // checked when it was packed
  const { moeIntermediateSize } = config;
  if (
    moeIntermediateSize !== defaults.moeIntermediateSize &&
    moeIntermediateSize !== intermediateSize
  )
    throw new ConfigError(
      `Expected \`moeIntermediateSize\` to be the layer's intermediateSize ${intermediateSize}, got \`${moeIntermediateSize}\``,
    );
  expectTogether(
    'weights.shared.router',
    views.sharedRouter,
    'useSharedExpertGating',
    config.useSharedExpertGating,
  );
  expectTogether(
    'weights.routerCorrectionBias',
    views.routerCorrectionBias,
    'balanceViaTopkBias',
    config.balanceViaTopkBias,
  );
}

function expectWeightGroup(weightType: WeightType, weightGroup: WeightGroup): void {
  if (!isQuantized(weightType))
    throw new ConfigError(`Expected no \`weightGroup\`: ${weightType} weights have no scales`);
  const groups = weightGroups.filter((group) => weightType === 'int8' || group !== 'all');
  expectOneOf('weightGroup', weightGroup, groups);
}

function expectInt8Activations(weightType: WeightType, { backend }: ResolvedDevice): void {
  const weightTypes = int8ActivationWeights[backend];
  if (weightTypes === undefined)
    throw new ConfigError(`Expected \`activationType\` 'float': '${backend}' has no other`);
  if (!weightTypes.includes(weightType))
    throw new ConfigError(
      `Expected \`activationType\` 'int8' with weightType '${weightTypes.join("' or '")}', got '${weightType}'`,
    );
}

/** Weights that a device multiplies with rows in int8. */
const int8ActivationWeights: Partial<Record<BackendName, readonly WeightType[]>> = {
  cpu: ['int8', 'int4'],
  ascend: ['int8'],
};

/** Inputs that share a scale, as the native side counts them: 0 for all of an output's, and for floats. */
export function nativeWeightGroup(
  weightType: WeightType,
  weightGroup: WeightGroup | undefined,
  { backend }: ResolvedDevice,
): number {
  const group = weightGroup ?? (backend === 'ascend' && weightType === 'int8' ? 'all' : 32);
  return !isQuantized(weightType) || group === 'all' ? 0 : group;
}

/** Whether weights of this type have scales. */
export const isQuantized = (weightType: WeightType): boolean =>
  weightType === 'int8' || weightType === 'int4';

function expectTogether(weight: string, view: unknown, field: string, asked: boolean): void {
  if (asked && view === undefined)
    throw new ShapeError(`Expected \`${weight}\`: \`${field}\` is true`);
  if (!asked && view !== undefined)
    throw new ConfigError(`Expected no \`${weight}\`: \`${field}\` is false`);
}
