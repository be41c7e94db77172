import { abortSignal, boolean, callback, choice, integer, type Rows } from '../base/rows.js';
import type { KvType } from '../binding/model.js';
import {
  type HeldOptions,
  heldRows,
  type LoadOptions,
  type WeightType,
  weightTypes,
} from '../layer/options.js';

/** How keys and values are kept. */
export const kvTypes = ['float32', 'bfloat16', 'int8'] as const satisfies readonly KvType[];

/** How a model is held and run. `weightType` and what belongs to it are of experts and all projections. */
export interface HeldModelOptions
  extends Pick<
    HeldOptions,
    'device' | 'weightType' | 'weightGroup' | 'activationType' | 'threads'
  > {
  /**
   * How the output head is held. Defaults to how it is stored where `weightType` is left out, to `int8` beside `int8` and
   * `int4`, else to `weightType`.
   */
  outputType?: WeightType | undefined;
  /** How the cache holds keys and values. Defaults to `bfloat16`. */
  kvType?: KvType | undefined;
  /** Tokens that the cache holds, of all sequences together. Defaults to one context, at most 32768. */
  kvTokens?: number | undefined;
  /** Whether sequences that begin alike share what the cache holds of that. Defaults to true. */
  prefixCache?: boolean | undefined;
  /** Tokens that one sequence may have. Defaults to what the model is made for, and may not be more. */
  contextLength?: number | undefined;
  /** Sequences that may wait for room in the cache; one more fails with `ERR_MOE_QUEUE_FULL`. Defaults to 256. */
  maxWaiting?: number | undefined;
}

/** How a model is loaded. */
export interface ModelLoadOptions
  extends HeldModelOptions,
    Pick<LoadOptions, 'onProgress' | 'signal'> {}

const maxTokens = 2 ** 30;

export const heldModelRows: Rows<HeldModelOptions> = {
  device: heldRows.device,
  weightType: heldRows.weightType,
  weightGroup: heldRows.weightGroup,
  activationType: heldRows.activationType,
  threads: heldRows.threads,
  outputType: {
    kind: choice(weightTypes),
    flag: {
      value: 'type',
      help: 'how the output head is held (default: as stored, or as --weight-type, int8 for int4)',
    },
  },
  kvType: {
    kind: choice(kvTypes),
    flag: {
      value: 'type',
      help: `how keys and values are kept: ${kvTypes.join(', ')}`,
      default: 'bfloat16',
    },
  },
  kvTokens: {
    kind: integer(1, maxTokens),
    flag: { value: 'n', help: 'tokens that the cache holds (default: one context, at most 32768)' },
  },
  prefixCache: { kind: boolean },
  contextLength: {
    kind: integer(1, maxTokens),
    flag: { value: 'n', help: "tokens that a sequence may have (default: the model's)" },
  },
  maxWaiting: { kind: integer(0) },
};

export const modelLoadRows: Rows<ModelLoadOptions> = {
  ...heldModelRows,
  onProgress: { kind: callback },
  signal: { kind: abortSignal },
};
