import type { NativeFile } from './native.js';

/** Element types of weights and activations. 16-bit floats travel as their bits in a `Uint16Array`. */
export type DType = 'float32' | 'bfloat16' | 'float16';

/** Element types of experts in checkpoints: some have scales beside them. */
export type StoredType = DType | 'float8_e4m3' | 'float4_e2m1';

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

/** A layer's weights, row-major, as checkpoints store them. E experts, H hidden, I intermediate, S shared width. */
export interface LayerWeights {
  /** `[E, H]`. Required unless there is only one expert. */
  router?: Tensor | undefined;
  /** `[E]`, added to the logits. */
  routerBias?: Tensor | undefined;
  /** `[E]`, added to the scores for the choice only (`balanceViaTopkBias`). */
  routerCorrectionBias?: Tensor | undefined;
  /** `[E, I, H]`; given exactly when the activation is gated. */
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
  /** The always-on expert. */
  shared?: SharedWeights | undefined;
}

/** The weights of the always-on expert, S wide. */
export interface SharedWeights {
  /** `[S, H]`; given exactly when the activation is gated. */
  gate?: Tensor | undefined;
  /** `[S, H]`. */
  up: Tensor;
  /** `[H, S]`. */
  down: Tensor;
  /** `[1, H]`: the expert's output is scaled by the sigmoid of its product with the token. */
  router?: Tensor | undefined;
}

/** Where weight bytes stand: an array in memory, or a mapped file. */
export type WeightSource = Float32Array | Uint16Array | NativeFile;

/**
 * One matrix inside a source. Element (o, i), output feature o and input feature i, stands `byteOffset` bytes plus
 * `o * outStride + i * inStride` elements into the source, so fused, transposed and interleaved checkpoints need no
 * copy.
 */
export interface MatrixView {
  source: WeightSource;
  byteOffset: number;
  dtype: StoredType;
  outFeatures: number;
  inFeatures: number;
  outStride: number;
  inStride: number;
  scales?: ScalesView;
}

/**
 * Factors of a matrix's blocks, inside a source: element (o, i) is multiplied by the scale that stands
 * `floor(o / outBlock) * outStride + floor(i / inBlock) * inStride` elements behind `byteOffset`.
 */
export interface ScalesView {
  source: WeightSource;
  byteOffset: number;
  /** `float8_e8m0`: a power of two in a byte. */
  dtype: DType | 'float8_e8m0';
  outBlock: number;
  inBlock: number;
  outStride: number;
  inStride: number;
}

/** One vector inside a source, `stride` elements apart. */
export interface VectorView {
  source: WeightSource;
  byteOffset: number;
  dtype: DType;
  size: number;
  stride: number;
}

/** One expert: gate and up `[I, H]`, down `[H, I]`. */
export interface ExpertView {
  gate?: MatrixView;
  up: MatrixView;
  down: MatrixView;
  gateBias?: VectorView;
  upBias?: VectorView;
  downBias?: VectorView;
}

/** The type that holds weights as they are given. Floats of fewer than 16 bits, with their scales, become bfloat16. */
export function heldType(type: StoredType): DType {
  return type === 'float8_e4m3' || type === 'float4_e2m1' ? 'bfloat16' : type;
}

/**
 * The type that holds a layer's experts as they are given, the always-on one included; float32 where they are of several
 * types.
 */
export function storedType({ experts, shared }: LayerWeightViews): DType {
  const types = new Set<DType>();
  for (const { gate, up, down } of shared === undefined ? experts : [...experts, shared])
    for (const matrix of [gate, up, down])
      if (matrix !== undefined) types.add(heldType(matrix.dtype));
  const [type] = types;
  return type !== undefined && types.size === 1 ? type : 'float32';
}

/** A layer's weights as a device packed them, in a mapped file. */
export interface PackedView {
  layout: string;
  parts: { name: string; source: NativeFile; byteOffset: number; byteLength: number }[];
}

/** A layer's weights where they stand: what `MoELayer` hands to the native side. */
export interface LayerWeightViews {
  /** Absent when there is one expert. */
  router?: MatrixView;
  routerBias?: VectorView;
  routerCorrectionBias?: VectorView;
  experts: ExpertView[];
  shared?: ExpertView;
  sharedRouter?: MatrixView;
  /** Instead of everything else. */
  packed?: PackedView;
}
