import { type DeviceName, deviceAt, type HeldWeights, resolveDevice } from '../binding/devices.js';
import type { DType, LayerWeightViews, MatrixView, StoredType } from '../binding/views.js';
import type { WeightType } from '../binding/weight_formats.js';

export type { DType } from '../binding/views.js';

/** Bytes of one element. */
export const elementBytes: Readonly<Record<DType, number>> = {
  float32: 4,
  bfloat16: 2,
  float16: 2,
};

/** A dense, row-major array in memory. */
export interface Tensor {
  /** What the elements are. */
  dtype: DType;
  /** Sizes, the outermost first. */
  shape: readonly number[];
  /** As many elements as the sizes multiply to: a `Float32Array` for float32, else the bits in a `Uint16Array`. */
  data: Float32Array | Uint16Array;
}

/**
 * A layer's weights, row-major, as checkpoints store them. E experts, H hidden, I intermediate, S shared width. R is E plus
 * `zeroExpertNum`.
 */
export interface LayerWeights {
  /** `[R, H]`. Required unless R is 1. */
  router?: Tensor | undefined;
  /** `[R]`, added to the logits. */
  routerBias?: Tensor | undefined;
  /** `[R]`, added to the scores for the choice only (`balanceViaTopkBias`). */
  routerCorrectionBias?: Tensor | undefined;
  /** `[E]`, multiplies the weights of an expert's choices, after all else. */
  expertScale?: Tensor | undefined;
  /**
   * `[V, K]` experts: those that a token chooses whose id is v of V. `forward` then takes `tokenIds`, and the router only
   * weighs.
   */
  expertTable?: Int32Array | undefined;
  /** `[E, I, H]`; given exactly when the activation is gated. With a `latentSize` the experts' H is L. */
  gate?: Tensor | undefined;
  /** `[E, I, H]`. */
  up: Tensor;
  /** `[E, H, I]`. */
  down: Tensor;
  /** `[E, I]`. */
  gateBias?: Tensor | undefined;
  /** `[E, I]`. */
  upBias?: Tensor | undefined;
  /** `[E, H]`. */
  downBias?: Tensor | undefined;
  /** `[L, H]`, between tokens and routed experts; given exactly when there is a `latentSize`. Held in float32. */
  latentDown?: Tensor | undefined;
  /** `[H, L]`, behind the mixed outputs of the routed experts; given exactly when there is a `latentSize`. */
  latentUp?: Tensor | undefined;
  /** The always-on expert. */
  shared?: SharedWeights | undefined;
}

/** The weights of the always-on expert, S wide. */
export interface SharedWeights {
  /** `[S, H]`; given exactly when its activation is gated. */
  gate?: Tensor | undefined;
  /** `[S, H]`. */
  up: Tensor;
  /** `[H, S]`. */
  down: Tensor;
  /** `[1, H]`: the expert's output is scaled by the sigmoid of its product with the token. */
  router?: Tensor | undefined;
}

/** The type that holds weights as they are given. */
export function heldType(type: StoredType): DType | 'published' {
  return Object.hasOwn(elementBytes, type) ? (type as DType) : 'published';
}

/** The type that holds a layer's experts as they are given, the always-on one included. */
export function storedType(
  { experts, shared }: LayerWeightViews,
  device: DeviceName | undefined,
): DType | 'published' {
  const matrices = (shared === undefined ? experts : [...experts, shared]).flatMap(
    ({ gate, up, down }) => (gate === undefined ? [up, down] : [gate, up, down]),
  );
  return commonType(matrices, () => deviceAt(resolveDevice(device))?.weights);
}

/**
 * The type that holds matrices as they are given: of floats of several types each in its own where the device can have
 * that, else in float32.
 *
 * @param held how the device can hold weights, asked for only then
 */
export function commonType(
  matrices: readonly MatrixView[],
  held: () => readonly HeldWeights[] | undefined,
): DType | 'published' {
  const types = new Set(matrices.map(({ dtype }) => heldType(dtype)));
  return types.has('published') ? 'published' : (typeOfAll(types, held) ?? 'float32');
}

/** The type that says how all of these types are held: theirs; of several `published`, undefined where the device lacks it. */
export function typeOfAll<Type extends WeightType>(
  types: Iterable<Type>,
  held: () => readonly HeldWeights[] | undefined,
): Type | 'published' | undefined {
  const [type, ...others] = new Set(types);
  if (others.length === 0) return type;
  return held()?.some(({ type }) => type === 'published') ? 'published' : undefined;
}
