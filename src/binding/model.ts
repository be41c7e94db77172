import type { NativeCancellation, NativeLayerSpec, NativePacked } from './native.js';
import type { LayerWeightViews, MatrixView, PackedView, VectorView } from './views.js';
import type { WeightType } from './weight_formats.js';

/** Tokens whose keys and values stand together in a cache (native/core/decoder_stages.h). */
export const kvBlock = 16;

/** How the cache holds keys and values. */
export type KvType = 'float32' | 'bfloat16' | 'int8';

/** How a dense projection is held. */
export interface NativeProjection {
  weightType: WeightType;
  /** Inputs that share a scale; 0: all of an output's, and for floats. */
  weightGroup: number;
  activationType: 'float' | 'int8';
}

/** A whole model but for its layers, as native/core/decoder/spec.h declares it. */
export interface NativeModelSpec {
  hiddenSize: number;
  vocabularySize: number;
  layers: number;
  normEpsilon: number;
  /** On embeddings, on what each block adds, on logits. */
  embeddingFactor: number;
  residualFactor: number;
  logitsFactor: number;
  /** Of attention, of dense feed-forward layers; of the output head. */
  projections: NativeProjection;
  head: NativeProjection;
  kvType: KvType;
  /** Tokens that the cache holds, of all sequences together; a multiple of 16. */
  kvTokens: number;
  /** Tokens that one sequence may have. */
  contextLength: number;
  /** Sequences share the blocks of equal beginnings. */
  prefixCache: boolean;
  /** 0: all of the device's. */
  threads: number;
  /** Calls that may wait on the device. */
  maxQueue: number;
  /** Rotations that layers name by their index. */
  rotations: NativeRotation[];
}

/** Pair i of position p is turned by p * frequencies[i], and cosine and sine are multiplied by `factor`. */
export interface NativeRotation {
  frequencies: Float64Array;
  factor: number;
  interleaved: boolean;
}

/** What happens to queries or keys between projection and attention (HeadsSpec of native/core/decoder_stages.h). */
export type NativeHeadNorm = 'none' | 'each_head' | 'whole_row';

export interface NativeAttention {
  kind: 'grouped' | 'latent';
  heads: number;
  /** `latent`: 1. */
  kvHeads: number;
  /** `grouped`: of queries, keys and values. `latent`: what of a query and key is rotated is `rotatedSize`. */
  headSize: number;
  /** `latent`: of the part of a query that is not rotated, of values, of the latent row, of the queries' (0: none). */
  nopeSize: number;
  valueSize: number;
  latentSize: number;
  queryLatentSize: number;
  /** Of the latent rows' norms. */
  latentNormEpsilon: number;
  scale: number;
  /** 0: none. */
  window: number;
  /** 0: none. */
  clip: number;
  norm: NativeHeadNorm;
  /** Index into `rotations`; -1: none. */
  rotation: number;
  /** Numbers of a head that are rotated: its first (`grouped`), its last (`latent`). */
  rotatedSize: number;
}

export interface NativeDecoderLayer {
  attention: NativeAttention;
  /** A Mixture-of-Experts layer; or a dense one, as a layer that has nothing but a shared expert. */
  feedForward: { kind: 'moe'; spec: NativeLayerSpec } | { kind: 'dense'; spec: NativeLayerSpec };
}

/** Weights of attention where they stand. Absent ones are undefined. */
export interface NativeAttentionViews {
  norm: VectorView;
  /** `grouped` */
  query?: MatrixView;
  key?: MatrixView;
  value?: MatrixView;
  queryBias?: VectorView;
  keyBias?: VectorView;
  valueBias?: VectorView;
  queryNorm?: VectorView;
  keyNorm?: VectorView;
  sinks?: VectorView;
  /** `latent`: `query`, or these two with the norm between; then the latent row and what becomes of it. */
  queryDown?: MatrixView;
  queryDownBias?: VectorView;
  queryDownNorm?: VectorView;
  queryUp?: MatrixView;
  latentDown?: MatrixView;
  latentDownBias?: VectorView;
  latentNorm?: VectorView;
  /** `[heads * (nopeSize + valueSize), latentSize]` */
  latentUp?: MatrixView;
  /** `[heads * latent, nope]`; `latentUp` has values only then. */
  latentUpKeys?: MatrixView;
  output: MatrixView;
  outputBias?: VectorView;
}

export interface NativeDecoderLayerViews {
  attention?: NativeAttentionViews;
  feedForwardNorm?: VectorView;
  feedForward: LayerWeightViews;
  /** Instead of `attention` and `feedForwardNorm`. */
  packed?: PackedView;
}

/** What stands before and behind the layers. */
export interface NativeOuterViews {
  embedding: MatrixView;
  norm?: VectorView;
  head?: MatrixView;
  /** Instead of `norm` and `head`. */
  packed?: PackedView;
}

/** How a sequence's tokens are chosen. */
export interface NativeSampling {
  /** 0: the likeliest. */
  temperature: number;
  /** 0: all. */
  topK: number;
  topP: number;
  minP: number;
  /** 1: none. */
  repetitionPenalty: number;
  presencePenalty: number;
  frequencyPenalty: number;
  biasTokens: Int32Array;
  biasValues: Float32Array;
  /** Never chosen before `minTokens` tokens were. */
  stopTokens: Int32Array;
  minTokens: number;
  /** Tokens from here on are never chosen. */
  vocabulary: number;
  seed: bigint;
  choice: number;
  /** Likeliest tokens to tell of each step, up to 20; -1: no log-probabilities at all. */
  logprobs: number;
}

export interface NativeAdmission {
  /** The sequence's number. */
  sequence: number;
  /** Tokens of the prompt that are in the cache already; at most all but the last. */
  cached: number;
}

/**
 * One step over sequences: each feeds its next `counts[i]` known tokens. Where a sequence then has no known tokens left, the next
 * one is sampled, told, and known from then on, unless it has all of its `newTokens`. On failure or abort every sequence is as before.
 * Steps may be queued before it is known what the ones before them sample.
 */
export interface NativeStep {
  sequences: Int32Array;
  counts: Int32Array;
  /**
   * [S] out: the sampled token; -1 where none was; -2 where logits are no numbers, or sampling options leave no token: that
   * sequence is as before, the others have gone on; -3 where it had been released, or had no known token, when the step began:
   * it has no rows.
   */
  sampled: Int32Array;
  /** [S] out: its log-probability before sampling options, and the likeliest tokens' ([S, 20]). */
  logprobs?: Float32Array;
  topTokens?: Int32Array;
  topLogprobs?: Float32Array;
  /** [rows, V] out: logits of every row. */
  logits?: Float32Array;
  /** [rows] out: log-probability of the token that follows each row; NaN where it is not known. */
  nextLogprobs?: Float32Array;
  cancellation?: NativeCancellation | undefined;
}

/** What a model has in use. */
export interface NativeModelUsage {
  /** Blocks of 16 tokens. */
  blocks: number;
  /** Those that no sequence has, nor has room for in reserve. */
  freeBlocks: number;
  /** Of the free ones: those whose tokens are kept for equal beginnings. */
  keptBlocks: number;
  sequences: number;
}

export interface NativeModel {
  readonly weightBytes: number;
  readonly cacheBytes: number;
  /** Layer after layer, in order. Files and arrays are borrowed until the promise settles. */
  addLayer(
    layer: NativeDecoderLayer,
    views: NativeDecoderLayerViews,
    onProgress?: (done: number, total: number) => void,
    cancellation?: NativeCancellation,
  ): Promise<void>;
  /** Ends loading. The embedding's source stays borrowed: its rows are read as they are needed. */
  finish(views: NativeOuterViews, cancellation?: NativeCancellation): Promise<void>;
  /** A layer as it is held, or what stands behind them; parts of a layer's feed-forward part begin with `feed_forward.`. */
  packed(layer?: number): NativePacked;
  /** A copy of some bytes of a part, by its index in `packed`. */
  readPacked(layer: number | undefined, part: number, offset: number, length: number): Uint8Array;
  /**
   * Takes the tokens of a prompt, and room for `newTokens` more. Undefined where there is none now; throws ERR_MOE_SHAPE where
   * there never will be.
   */
  admit(
    tokens: Int32Array,
    newTokens: number,
    sampling: NativeSampling,
    /** Default true; false: all of its tokens are computed, whatever is in the cache. */
    shares?: boolean,
  ): NativeAdmission | undefined;
  step(step: NativeStep): Promise<void>;
  /** Gives the sequence's room back. Throws ERR_MOE_SHAPE while a step with it runs. */
  release(sequence: number): void;
  usage(): NativeModelUsage;
  /** Tokens that each expert of a layer has served, `[E]`; empty for a dense layer. */
  expertLoad(layer: number): Float64Array;
  /** Rejects what waits with ERR_MOE_CLOSED, lets the running step end, frees everything. Safe to call twice. */
  close(): Promise<void>;
}
