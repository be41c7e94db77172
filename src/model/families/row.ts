import type { NativeHeadNorm } from '../../binding/model.js';
import type { DecoderKey } from './keys.js';

/** A constant, or what a key of `config.json` says; the default is that of the model's class in Transformers. */
export type Said<Value> = Value | { readonly key: DecoderKey; readonly default: Value };

/** Attention with a key and a value for each group of heads. */
export interface GroupedRow {
  readonly kind: 'grouped';
  /** Whether the projections of queries, keys and values add biases, and that of the output. */
  readonly bias: Said<boolean>;
  readonly outputBias: Said<boolean>;
  /** Of queries and keys. With a key, where it is true. */
  readonly norm?: NativeHeadNorm | { readonly key: DecoderKey; readonly is: NativeHeadNorm };
  /** The key of the number that queries, keys and values are clamped to. */
  readonly clip?: DecoderKey;
  /** Absent: one by the square root of a head's size. */
  readonly scale?: Said<number>;
  /** Whether each head has a logit that takes probability and gives nothing. */
  readonly sinks?: true;
  readonly windows?: WindowRow;
  /** How much of a head is rotated where no key says it; absent: all, whatever a key says. */
  readonly rotatedPart?: number;
}

/** Which layers see a window of `sliding_window` tokens. What is left out says all. */
export interface WindowRow {
  /** Of `sliding_window`. */
  readonly default: number | null;
  /** None do unless `use_sliding_window` is true. */
  readonly asked?: true;
  /** `layer_types` says which, where it is there. */
  readonly byType?: true;
  readonly even?: true;
  /** Those of `max_window_layers` and behind, or those before it. */
  readonly side?: { readonly of: 'behind' | 'before'; readonly default: number };
}

/** Attention whose keys and values are made from one latent row of a token. */
export interface LatentRow {
  readonly kind: 'latent';
  /** Whether pairs that are rotated stand side by side. */
  readonly interleaved: Said<boolean>;
}

/** A family of decoders: what `config.json` says of everything but the feed-forward part. */
export interface DecoderRow {
  readonly modelTypes: readonly string[];
  readonly attention: GroupedRow | LatentRow;
  /** Of `rope_theta`. */
  readonly theta: number;
  /** How positions are turned where no key says it; absent: plainly. */
  readonly rope?: Readonly<Record<string, unknown>>;
  /** Whether embeddings, residuals and logits have factors. */
  readonly factors?: true;
  /** Keys that the family's class does not read, and the values at which they say what it does. */
  readonly says?: Partial<Readonly<Record<DecoderKey, readonly unknown[]>>>;
}
