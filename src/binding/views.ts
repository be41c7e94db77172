// Where weights stand: what crosses into the addon of them.

import type { BlockType } from './block_types.js';

/** Element types of weights and activations. 16-bit floats travel as their bits in a `Uint16Array`. */
export type DType = 'float32' | 'bfloat16' | 'float16';

/** Element types that stand by themselves: those that are no `DType` have scales beside them. */
export type ElementType = DType | 'float8_e4m3' | 'float4_e2m1' | 'int8' | IntegerType;

/** Integers without a sign. Those of other than 4 and 8 bits are packed along inputs, across the borders of words. */
export type IntegerType = 'uint8' | 'uint6' | 'uint5' | 'uint4' | 'uint3' | 'uint2';

/** Types of experts in checkpoints. Blocks have scales in themselves; rows of them are whole ones, `inStride` is 1 then. */
export type StoredType = ElementType | BlockType;

/** A file mapped read-only. Kept alive by whoever reads it; unmapped when collected or closed. */
export interface NativeFile {
  /** The bytes [offset, offset + length), copied. */
  read(offset: number, length: number): Uint8Array;
  close(): void;
}

/** Where weight bytes stand: an array in memory, or a mapped file. */
export type WeightSource = Float32Array | Uint16Array | NativeFile;

/**
 * One matrix inside a source. Element (o, i), output feature o and input feature i, stands `byteOffset` bytes plus
 * `o * outStride + i * inStride` elements into the source, so fused, transposed and interleaved checkpoints need no
 * copy. Of 4-bit elements two share a byte, the first in its low half.
 */
export interface MatrixView {
  source: WeightSource;
  byteOffset: number;
  dtype: StoredType;
  outFeatures: number;
  inFeatures: number;
  outStride: number;
  inStride: number;
  /** Output features before those of the matrix, which is a part of a larger one: `o` counts from the larger one's. */
  firstOut?: number;
  /**
   * Output features of each of so many stand as rotation pairs them: j and j + half of them side by side. Absent: in
   * order.
   */
  pairedRows?: number;
  /** Of blocks, for messages. */
  name?: string;
  /** `[inFeatures]`, 0 or more: how much squared errors count, where the matrix is quantised and they do not count alike. */
  importance?: Float32Array;
  /** Integers that stand side by side in words of 32 bits, which strides count then. */
  packing?: Packing;
  scales?: ScalesView;
  /** What is subtracted from integers: of each block of the scales. */
  zeros?: ZerosView;
  /** What multiplies all elements of `nvfp4`; 1 when left out. */
  factor?: number;
  /** What is subtracted from all integers where there are no `zeros`, or all of them are this; 0 when left out. */
  zero?: number;
}

/**
 * What is in a word, the first in its lowest bits: input features of one output feature, output features of one input
 * feature, or eight of those in AWQ's order: 0, 2, 4, 6, 1, 3, 5, 7.
 */
export type Packing = 'inputs' | 'outputs' | 'outputs_of_awq';

/**
 * Factors of a matrix's blocks, inside a source: element (o, i) is multiplied by the scale that stands
 * `floor(o / outBlock) * outStride + floor(i / inBlock) * inStride` elements behind `byteOffset`. What it is then is
 * multiplied by `factor` or divided by `divisor`, or has an offset added to it.
 */
export interface ScalesView {
  source: WeightSource;
  byteOffset: number;
  /** `float8_e8m0`: a power of two in a byte. */
  dtype: DType | 'float8_e8m0' | 'float8_e4m3';
  outBlock: number;
  inBlock: number;
  outStride: number;
  inStride: number;
  /** 1 when left out. */
  factor?: number;
  /** 1 when left out. */
  divisor?: number;
  /** Where the offsets stand: of the scales' type, placed as they are. */
  offsets?: Place;
  /** An int32 for each input feature, which stands for `floor(i / inBlock)`; its name for messages. */
  groupOfInput?: NamedPlace;
  /** For messages. */
  name?: string;
}

/** Where something begins in a source. */
export interface Place {
  source: WeightSource;
  byteOffset: number;
}

export interface NamedPlace extends Place {
  /** For messages. */
  name: string;
}

/** Zeros of a matrix's integers, of the same type: at (o, i) for block o of the scales' output features and i of the inputs. */
export interface ZerosView extends Place {
  packing?: Packing;
  outStride: number;
  inStride: number;
  /** The zeros are larger by this than they are stored, modulo what their bits can say. */
  added: 0 | 1;
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
  /** With a latent size. */
  latentDown?: MatrixView;
  latentUp?: MatrixView;
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
