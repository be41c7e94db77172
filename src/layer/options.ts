import { expectKnownNames, expectObject } from '../base/checks.js';
import {
  abortSignal,
  boolean,
  callback,
  choice,
  integer,
  type Kind,
  other,
  type Row,
  type Rows,
} from '../base/rows.js';
import { type DeviceName, expectDevice } from '../binding/devices.js';
import {
  type ActivationType,
  activationTypes,
  hasIntegers,
  hasScales,
  type WeightFormat,
  type WeightGroup,
  type WeightType,
  weightFormatNames,
  weightGroups,
  weightTypes,
} from '../binding/weight_formats.js';
import type { MoEConfig, MoEConfigOptions } from '../config/config.js';
import { placeRows } from '../config/hugging_face.js';
import { expectPlacement } from '../group/placement.js';
import { type ExpertOptions, expertRows, maxSize } from './experts.js';
import { expectGroup, type ParallelOptions } from './parallel.js';
import type { LayerWeights, SharedWeights } from './weights.js';

export {
  type ActivationType,
  activationTypes,
  type WeightFormat,
  type WeightGroup,
  type WeightType,
  weightFormatNames,
  weightGroups,
  weightTypes,
};

const typesWithScales = weightTypes.filter(hasScales).join(' and ');

/** How a layer is held and run, wherever its weights come from. */
export interface HeldOptions extends ParallelOptions {
  /** Defaults to `'auto'`: the first available of ascend, cuda, cpu. */
  device?: DeviceName | undefined;
  /**
   * How experts are held; defaults to the type they are given or stored in. Of floats of several types each matrix has its
   * own on the CPU (`published`), elsewhere all become float32. Quantised checkpoints are held as they were published, which
   * the CPU can. The router is always float32.
   */
  weightType?: WeightType | undefined;
  /**
   * Of `int8` and `int4`: how many inputs of an output feature share a scale. Defaults to 32, the most exact; `'all'` is
   * for `int8` only, and its default on Ascend, whose operators take no other.
   */
  weightGroup?: WeightGroup | undefined;
  /**
   * `'bfloat16'` rounds the rows of a batch to bfloat16 before each product, on the CPU with weights of every type: faster
   * with instructions for pairs of bfloat16 and `bfloat16`, `int8` or `int4` weights. `'int8'` rounds them to int8 before each
   * product, which is then one of integers: faster and less exact (docs/weight-types.md for both). On the CPU with `int8`, `int4` and published weights, a scale for each row and group of inputs; published floats,
   * float8 among them, are multiplied by rows of floats all the same. On Ascend
   * A2 and A3 with `int8` weights of experts without biases, a scale for each row. Defaults to `'float'`.
   */
  activationType?: ActivationType | undefined;
  /** At most this many of the device's threads work on the layer. Defaults to all, as many as the process may use. */
  threads?: number | undefined;
  /** Calls that may wait on the device before a further one fails with `ERR_MOE_QUEUE_FULL`. Defaults to 1024. */
  maxQueue?: number | undefined;
}

/** What `MoELayer.create` makes a layer of. */
export interface LayerOptions extends HeldOptions, ExpertOptions {
  /** How tokens are routed, and the number of experts. */
  config: MoEConfig | MoEConfigOptions;
  /** H. */
  hiddenSize: number;
  /** I, the width of each expert. */
  intermediateSize: number;
  /** Borrowed until `create` settles. */
  weights: LayerWeights;
}

/** How `MoELayer.load` and `MoECheckpoint.load` load a layer. */
export interface LoadOptions extends HeldOptions {
  /** Number of the MoE layer; may be left out where the checkpoint has only one. */
  layer?: number | undefined;
  /** Which stack of layers, in checkpoints with several (docs/checkpoints.md). */
  stack?: string | undefined;
  /** Fields that differ from what the checkpoint's own config says. */
  config?: Partial<MoEConfigOptions> | undefined;
  /** Counts experts as they are prepared. What it throws ends the load. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  /** Ends the load. */
  signal?: AbortSignal | undefined;
}

/** Everything about these options comes from here: names, checks, flags, a worker's arguments, what ranks agree on. */
export const heldRows: Rows<HeldOptions> = {
  device: {
    kind: other(expectDevice),
    flag: {
      value: 'name',
      help: 'auto, cpu, cuda, cuda:N, ascend or ascend:N',
      default: 'auto',
    },
    ofRank: true,
  },
  weightType: {
    kind: choice(weightTypes),
    flag: {
      value: 'type',
      help: `how the experts are held: ${weightTypes.join(', ')} (default: as stored)`,
    },
  },
  weightGroup: {
    kind: choice(weightGroups),
    flag: {
      value: 'n',
      help: `inputs that share a scale, for ${typesWithScales} (default: 32; all on Ascend)`,
    },
  },
  activationType: {
    kind: choice(activationTypes),
    flag: {
      value: 'type',
      help: `what rows are multiplied as: ${activationTypes.join(', ')}; int8 with ${weightTypes.filter(hasIntegers).join(', ')} experts (default: float)`,
    },
  },
  threads: {
    kind: integer(1, 4096),
    flag: { value: 'n', help: 'threads of the device (default: all)' },
    ofRank: true,
  },
  maxQueue: { kind: integer(1), ofRank: true },
  group: { kind: other(expectGroup) },
  unevenExperts: {
    kind: boolean,
    flag: { help: 'let the first ranks hold one expert more than the others' },
  },
  placement: { kind: other(expectPlacement) },
};

/** Names of options whose values a rank has for itself. */
export const ofRank: readonly string[] = Object.entries<Row>(heldRows)
  .filter(([, row]) => row.ofRank)
  .map(([name]) => name);

const object: Kind = other(expectObject);

export const layerRows: Rows<LayerOptions> = {
  config: { kind: object, required: true },
  hiddenSize: { kind: integer(1, maxSize), required: true },
  intermediateSize: { kind: integer(1, maxSize), required: true },
  weights: { kind: other(expectWeights), required: true },
  ...expertRows,
  ...heldRows,
};

export const loadRows: Rows<LoadOptions> = {
  ...placeRows,
  config: { kind: object },
  onProgress: { kind: callback },
  signal: { kind: abortSignal },
  ...heldRows,
};

export const weightNames: readonly (keyof LayerWeights)[] = [
  ...(['router', 'routerBias', 'routerCorrectionBias', 'expertScale', 'expertTable'] as const),
  ...(['gate', 'up', 'down', 'gateBias', 'upBias', 'downBias', 'shared'] as const),
  ...(['latentDown', 'latentUp'] as const),
];
const sharedNames: readonly (keyof SharedWeights)[] = ['gate', 'up', 'down', 'router'];

/** Tensors are checked where their shapes are known. */
function expectWeights(name: string, weights: unknown): void {
  expectObject(name, weights);
  expectKnownNames(name, weights, weightNames);
  if (weights['shared'] === undefined) return;
  expectObject(`${name}.shared`, weights['shared']);
  expectKnownNames(`${name}.shared`, weights['shared'], sharedNames);
}
