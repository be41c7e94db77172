// Where weights stand: what crosses into the addon of them.

/** Element types of weights and activations. 16-bit floats travel as their bits in a `Uint16Array`. */
export type DType = 'float32' | 'bfloat16' | 'float16';

/** Element types of experts in checkpoints: some have scales beside them. */
export type StoredType = DType | 'float8_e4m3' | 'float4_e2m1';

/** A file mapped read-only. Kept alive by whoever reads it; unmapped when collected or closed. */
export interface NativeFile {
  readonly path: string;
  /** The bytes [offset, offset + length), copied. */
  read(offset: number, length: number): Uint8Array;
  close(): void;
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
  /** Multiplies an expert's weights at last. */
  expertScale?: VectorView;
  experts: ExpertView[];
  shared?: ExpertView;
  sharedRouter?: MatrixView;
  /** Instead of everything else. */
  packed?: PackedView;
}

/** All of a layer's weights: those, and what stays on this side. */
export interface LayerViews extends LayerWeightViews {
  /** `[V, K]`: the experts of each token id, where a table says them. */
  expertTable?: Int32Array;
}
